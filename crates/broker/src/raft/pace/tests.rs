//! The rules of the pace, moment by moment.
#![allow(clippy::disallowed_methods, reason = "any moment will do to count from")]

use super::*;

const ME: NodeId = NodeId::new(1);
const OTHERS: [NodeId; 2] = [NodeId::new(2), NodeId::new(3)];
const STILL: Still = Still { term: Term::new(4), last: LogIndex::new(9) };

fn leads(still: Option<Still>) -> View {
    View::Leads { others: OTHERS.to_vec(), still, quorum_age: Some(Duration::from_millis(150)) }
}

fn follows(rank: u32) -> View {
    View::Follows { leader: ME, term: STILL.term, still: Some(STILL), rank: Some(rank) }
}

fn after(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

/// A leader that became quiet, and when.
fn quiet(start: Instant) -> (Pace, Instant) {
    let mut pace = Pace::default();
    pace.look(&leads(Some(STILL)), start, 0);
    let now = after(start, 1_000);
    OTHERS.into_iter().for_each(|node| pace.answered(node, STILL, now, true));
    assert_eq!(pace.look(&leads(Some(STILL)), now, 0), Verdict::Rest);
    assert!(pace.is_quiet());
    (pace, now)
}

/// The moments, in milliseconds, at which a replica campaigns that sees the same view for a while.
fn campaigns(mut pace: Pace, view: &View, start: Instant, chance: u64) -> Vec<u64> {
    let looks = (0..60).map(|number| number * 50);
    looks.filter(|ms| pace.look(view, after(start, *ms), chance) == Verdict::Campaign).collect()
}

#[tokio::test]
async fn a_leader_is_quiet_once_a_majority_agrees_and_only_as_long_as_it_does() {
    let start = Instant::now();
    let mut pace = Pace::default();
    assert_eq!(pace.look(&leads(Some(STILL)), start, 0), Verdict::Heartbeat);
    assert_eq!(pace.pulse(), None, "it may have just begun");
    let calm = after(start, 1_000);
    assert_eq!(pace.look(&leads(Some(STILL)), calm, 0), Verdict::Heartbeat);
    assert_eq!(pace.pulse(), Some(STILL));
    assert!(!pace.is_quiet(), "nobody has agreed");
    pace.answered(OTHERS[0], STILL, calm, true);
    assert_eq!(pace.look(&leads(Some(STILL)), after(start, 1_300), 0), Verdict::Rest);
    assert!(pace.is_quiet(), "the other may be down");
    assert_eq!(pace.look(&leads(Some(STILL)), after(start, 2_990), 0), Verdict::Rest);
    let verdict = pace.look(&leads(Some(STILL)), after(start, 3_000), 0);
    assert_eq!(verdict, Verdict::Heartbeat, "it did not agree again in time");
}

#[tokio::test]
async fn a_leader_with_work_sends_heartbeats_and_no_pulse() {
    let start = Instant::now();
    let mut pace = Pace::default();
    let beats = (0..10).map(|number| pace.look(&leads(None), after(start, number * 100), 0));
    let beats: Vec<_> = beats.map(|verdict| verdict == Verdict::Heartbeat).collect();
    assert_eq!(beats, [true, false].repeat(5));
    assert_eq!(pace.pulse(), None);
    let alone = View::Leads { others: Vec::new(), still: Some(STILL), quorum_age: None };
    assert_eq!(pace.look(&alone, after(start, 9_000), 0), Verdict::Rest, "nobody is there to hear one");
}

#[tokio::test]
async fn a_member_that_disagrees_wakes_the_leader_at_once() {
    let (mut pace, now) = quiet(Instant::now());
    pace.answered(OTHERS[1], STILL, now, false);
    assert_eq!(pace.look(&leads(Some(STILL)), now, 0), Verdict::Heartbeat);
}

#[tokio::test]
async fn what_was_agreed_about_an_older_end_counts_for_nothing() {
    let (mut pace, now) = quiet(Instant::now());
    let newer = Still { last: STILL.last.next(), ..STILL };
    assert_eq!(pace.look(&leads(Some(newer)), now, 0), Verdict::Heartbeat);
    pace.answered(OTHERS[0], STILL, now, true);
    assert_eq!((pace.agreed_at(OTHERS[0]), pace.pulse()), (None, None));
}

#[tokio::test]
async fn who_writes_after_a_quiet_time_renews_the_lease_before() {
    let (mut pace, now) = quiet(Instant::now());
    assert!(pace.wake(now));
    assert_eq!(pace.look(&leads(Some(STILL)), now, 0), Verdict::Heartbeat, "it was just written to");
    assert!(!pace.wake(now), "the core heard from a majority in the meantime");
    let (mut pace, now) = quiet(Instant::now());
    let unheard = View::Leads { others: OTHERS.to_vec(), still: None, quorum_age: Some(Duration::from_secs(9)) };
    pace.look(&unheard, now, 0);
    assert!(pace.wake(now), "nothing has renewed it yet");
    pace.renewed();
    assert!(!pace.wake(now));
}

#[tokio::test]
async fn an_answer_to_a_pulse_from_before_a_write_does_not_make_it_quiet() {
    let (mut pace, now) = quiet(Instant::now());
    pace.wake(after(now, 10));
    pace.answered(OTHERS[0], STILL, now, true);
    assert_eq!(pace.agreed_at(OTHERS[0]), None);
}

#[tokio::test]
async fn followers_campaign_one_after_the_other_when_their_leader_falls_silent() {
    let start = Instant::now();
    for (rank, pulse_ms, append_ms) in [(0, 800, 900), (1, 1_050, 1_150)] {
        let mut pulsed = Pace::default();
        assert!(pulsed.take_pulse(&follows(rank), ME, STILL, start));
        assert_eq!(campaigns(pulsed, &follows(rank), start, 7).first(), Some(&pulse_ms));
        let mut fed = Pace::default();
        fed.hear(ME, STILL.term, start);
        assert_eq!(campaigns(fed, &follows(rank), start, 7).first(), Some(&append_ms));
        assert_eq!(campaigns(Pace::default(), &follows(rank), start, 7).first(), Some(&append_ms), "as if just heard");
        let nobody = View::Neither { rank };
        assert_eq!(campaigns(Pace::default(), &nobody, start, 7).first(), Some(&(500 + 250 * u64::from(rank))));
    }
}

#[tokio::test]
async fn campaigns_that_fail_are_repeated_out_of_step() {
    let start = Instant::now();
    let [one, other] = [3, 4].map(|chance| campaigns(Pace::default(), &View::Neither { rank: 0 }, start, chance));
    assert!(one.len() >= 3 && other.len() >= 3 && one != other, "{one:?} {other:?}");
    assert!(one.windows(2).all(|pair| (400..=800).contains(&(pair[1] - pair[0]))), "{one:?}");
}

#[tokio::test]
async fn who_has_no_vote_or_may_not_use_it_never_campaigns() {
    let start = Instant::now();
    let learner = View::Follows { leader: ME, term: STILL.term, still: None, rank: None };
    assert!(campaigns(Pace::default(), &learner, start, 7).is_empty());
    assert!(campaigns(Pace::default(), &View::Watches, start, 7).is_empty());
    assert!(campaigns(Pace::default(), &leads(None), start, 7).is_empty());
}

#[tokio::test]
async fn a_follower_agrees_to_what_it_has_and_to_its_leader_only() {
    let now = Instant::now();
    let mut pace = Pace::default();
    let behind = View::Follows { leader: ME, term: STILL.term, still: None, rank: Some(0) };
    assert!(!pace.take_pulse(&behind, ME, STILL, now), "something is not committed here");
    let (newer_term, newer_end) = (Still { term: Term::new(5), ..STILL }, Still { last: STILL.last.next(), ..STILL });
    for (from, said) in [(OTHERS[1], STILL), (ME, newer_term), (ME, newer_end)] {
        assert!(!pace.take_pulse(&follows(0), from, said, now));
    }
    assert!(!pace.take_pulse(&View::Neither { rank: 0 }, ME, STILL, now));
    assert!(!pace.take_pulse(&leads(Some(STILL)), OTHERS[0], STILL, now));
    assert!(!pace.vouches_against(OTHERS[1], now));
}

#[tokio::test]
async fn a_follower_vouches_for_a_leader_that_it_hears_until_that_one_gives_up() {
    let now = Instant::now();
    let mut pace = Pace::default();
    assert!(pace.take_pulse(&follows(0), ME, STILL, now));
    assert!(pace.vouches_against(OTHERS[1], after(now, 599)));
    assert!(!pace.vouches_against(ME, now), "the leader itself may ask");
    assert!(!pace.vouches_against(OTHERS[1], after(now, 600)));
    pace.forget_leader();
    assert!(!pace.vouches_against(OTHERS[1], now));
}

#[tokio::test]
async fn the_word_of_an_older_leader_does_not_hold_for_the_next() {
    let start = Instant::now();
    let mut pace = Pace::default();
    let late = after(start, 5_000);
    assert!(pace.take_pulse(&follows(0), ME, STILL, start));
    let next = View::Follows { leader: OTHERS[0], term: Term::new(5), still: None, rank: Some(0) };
    assert_eq!(pace.look(&next, late, 0), Verdict::Rest, "it has just been told of that one");
    assert_eq!(campaigns(pace, &next, late, 7).first(), Some(&900));
}
