//! Answers and images as lines of a script.

use std::fmt::{self, Write as _};

use highwater_groups::stream::command::{Description, Joined, JoinedMember};
use highwater_groups::stream::{Answer, GroupsImage, Reply};

/// Ids as people read them: `a#1` for a member, the name for a topic.
pub(crate) fn shorten(text: &str) -> String {
    let (mut short, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('-') {
        let (before, after) = rest.split_at(at);
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hex = after.get(1..33).filter(|hex| is_hex(hex));
        let uuid = before.get(before.len().wrapping_sub(8)..).zip(after.get(..28));
        let uuid = uuid.map(|(head, tail)| format!("{head}{tail}").replace('-', ""));
        if let Some(nonce) = hex.and_then(|hex| u128::from_str_radix(hex, 16).ok()) {
            write!(short, "{before}#{nonce}").unwrap();
            rest = &after[33..];
        } else if let Some(name) = uuid.filter(|uuid| uuid.len() == 32).and_then(|uuid| topic_name(&uuid)) {
            write!(short, "{}{name}", &before[..before.len() - 8]).unwrap();
            rest = &after[28..];
        } else {
            write!(short, "{before}-").unwrap();
            rest = &after[1..];
        }
    }
    short + rest
}

fn topic_name(hex: &str) -> Option<String> {
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..32).step_by(2).map(byte).collect();
    Some(String::from_utf8(bytes?).ok()?.trim_end_matches('.').to_owned())
}

pub(crate) fn replies(replies: &[Reply]) -> String {
    let mut text = String::new();
    replies.iter().for_each(|Reply { to, answer }| writeln!(text, "{to}: {}", self::answer(answer)).unwrap());
    text
}

fn result<T, E: fmt::Display>(result: &Result<T, E>, show: impl FnOnce(&T) -> String) -> String {
    match result {
        Ok(value) => show(value),
        Err(error) => format!("refused: {error}"),
    }
}

fn answer(answer: &Answer) -> String {
    let done = |_: &()| "done".to_owned();
    match answer {
        Answer::Join(answer) => result(answer, joined),
        Answer::Sync(answer) => {
            result(answer, |synced| format!("synced generation={} assignment={}", synced.generation, synced.assignment))
        }
        Answer::Heartbeat(answer) => result(answer, done),
        Answer::Leave(answer) => result(answer, |left| {
            let texts = left.iter().map(|left| result(&left.result, |()| "left".to_owned()));
            texts.collect::<Vec<_>>().join("; ")
        }),
        Answer::Commit(answer) => result(answer, |committed| {
            let refused = committed.refused.iter().map(|refused| format!(" {} refused: {}", refused.at, refused.error));
            format!("committed{}", refused.collect::<String>())
        }),
        Answer::Fetch(answer) => result(answer, |offsets| {
            let offset = |(at, committed): &(_, Option<_>)| match committed {
                Some(committed) => format!(" {at}={committed}"),
                None => format!(" {at}=none"),
            };
            format!("offsets{}", offsets.iter().map(offset).collect::<String>())
        }),
        Answer::Describe(answer) => result(answer, description),
        Answer::List(groups) => {
            let listing = groups.iter().map(|listing| format!(" {}={}", listing.group, listing.state));
            format!("groups{}", listing.collect::<String>())
        }
        Answer::DeleteGroup(answer) => result(answer, done),
        Answer::DeleteOffsets(answer) => result(answer, |refused| {
            let refused = refused.iter().map(|refused| format!(" {} refused: {}", refused.at, refused.error));
            format!("deleted{}", refused.collect::<String>())
        }),
        Answer::Seek(answer) => result(answer, done),
        Answer::Fence(answer) => result(answer, done),
        Answer::Done => "done".to_owned(),
    }
}

fn joined(joined: &Joined) -> String {
    let Joined { generation, protocol, leader, member, skip_assignment, members, .. } = joined;
    let mut text = format!("joined generation={generation} as {member}");
    if let Some(protocol) = protocol {
        write!(text, " protocol={protocol}").unwrap();
    }
    if let Some(leader) = leader {
        write!(text, " leader={leader}").unwrap();
    }
    if *skip_assignment {
        text += " and must not assign";
    }
    for JoinedMember { id, metadata, .. } in members {
        write!(text, " {id}:{}", metadata.escape_ascii()).unwrap();
    }
    text
}

fn description(description: &Description) -> String {
    let Description { state, generation, protocol, members, .. } = description;
    let protocol = protocol.as_ref().map_or("", |name| name.as_str());
    let members = members.iter().map(|member| format!(" {}={}", member.id, member.assignment));
    format!("{state} generation={generation} protocol={protocol}{}", members.collect::<String>())
}

pub(crate) fn image(image: &GroupsImage) -> String {
    let mut text = String::new();
    for (id, group) in image.groups() {
        write!(text, "group {id} generation={}", group.generation).unwrap();
        group.members.iter().for_each(|member| write!(text, " {member}").unwrap());
        group.offsets.iter().for_each(|(at, committed)| write!(text, " {at}={committed}").unwrap());
        text.push('\n');
    }
    text
}
