//! `ApiVersions`: what is served. The first thing that a client asks.

use super::api::Api;
use super::call::Call;
use super::error::KafkaCode;
use super::wire::{Malformed, Writer};

pub(super) fn answer(mut call: Call) -> Result<Writer, Malformed> {
    if !call.api.serves(call.version) {
        return Ok(of_unknown_version());
    }
    let code = match check(&mut call)? {
        true => KafkaCode::NONE,
        false => KafkaCode::INVALID_REQUEST,
    };
    let mut body = call.writer();
    body.i16(code.number());
    body.array(Api::ALL, |body, api| {
        write(body, *api);
        body.tags();
    });
    if call.version >= 1 {
        body.i32(0);
    }
    body.tags();
    Ok(body)
}

/// Whether the client's name and version are as they may be; older versions do not say them.
fn check(call: &mut Call) -> Result<bool, Malformed> {
    if call.version < 3 {
        return Ok(true);
    }
    let (name, version) = (call.body.text()?, call.body.text()?);
    call.body.tags()?;
    Ok(is_plain(&name) && is_plain(&version))
}

/// Letters and digits, with hyphens and dots between them.
fn is_plain(text: &str) -> bool {
    let is_edge = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
    is_edge(text.chars().next())
        && is_edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

/// In the oldest version, which everybody reads: it says which versions of this one API may be asked for.
fn of_unknown_version() -> Writer {
    let mut body = Writer::new(false);
    body.i16(KafkaCode::UNSUPPORTED_VERSION.number());
    body.array([Api::ApiVersions], write);
    body
}

fn write(body: &mut Writer, api: Api) {
    let (first, last) = api.advertised();
    body.i16(api.key());
    body.i16(first);
    body.i16(last);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_are_plain() {
        for name in ["librdkafka", "apache-kafka-java", "a", "2.16.0-beta.1"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", "-a", "a.", "a b", "ä", "a_b"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
