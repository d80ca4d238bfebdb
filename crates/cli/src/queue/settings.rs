//! The settings of a queue group as options and results write them: `--backoff`, `--breaker`, and what is shown.
//!
//! Invariant: what is shown of a setting is what its option takes.

use std::time::Duration;

use clap::ValueEnum;
use highwater_client::{OnExpiry, QueueBackoff, QueueBreaker, QueueOrder, QueueSettings};
use serde::Serialize;

use super::output::{ms, span};
use crate::output::Table;

/// A back-off that grows has this cap unless another is given.
const BACKOFF_CAP: Duration = Duration::from_secs(3_600);
/// What a breaker has that is given by its share of failures alone.
const OUTCOMES_MIN: u32 = 100;
const WINDOW: Duration = Duration::from_secs(30);
const PROBE_AFTER: Duration = Duration::from_secs(10);

/// Which messages may be with workers at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OrderArg {
    /// All of them
    None,
    /// One of each key; keys side by side
    Key,
    /// One of each partition
    Partition,
}

impl From<OrderArg> for QueueOrder {
    fn from(order: OrderArg) -> Self {
        match order {
            OrderArg::None => Self::None,
            OrderArg::Key => Self::Key,
            OrderArg::Partition => Self::Partition,
        }
    }
}

/// What becomes of a message whose time to live is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExpiryArg {
    /// It is dead and can be looked at
    Dead,
    /// It is done
    Drop,
}

impl From<ExpiryArg> for OnExpiry {
    fn from(expiry: ExpiryArg) -> Self {
        match expiry {
            ExpiryArg::Dead => Self::Dead,
            ExpiryArg::Drop => Self::Drop,
        }
    }
}

/// Reads `none`, `fixed:D`, `linear:D[:CAP]` or `exponential:D[:CAP]`.
pub(super) fn parse_backoff(text: &str) -> Result<QueueBackoff, String> {
    const FORMS: &str = "it is none, fixed:D, linear:D[:CAP] or exponential:D[:CAP], such as exponential:1s:1m";
    let mut parts = text.split(':');
    let kind = parts.next().unwrap_or_default();
    let spans: Vec<Duration> = parts.map(parse_span).collect::<Result<_, _>>()?;
    let capped = |first: Duration, cap: Option<&Duration>| match cap {
        Some(cap) if *cap < first => {
            Err(format!("the cap {} is shorter than the first rest {}", span(*cap), span(first)))
        }
        Some(cap) => Ok(*cap),
        None => Ok(BACKOFF_CAP.max(first)),
    };
    match (kind, spans.as_slice()) {
        ("none", []) => Ok(QueueBackoff::None),
        ("fixed", [pause]) => Ok(QueueBackoff::Fixed { pause: *pause }),
        ("linear", [step, cap @ ..]) if cap.len() < 2 => {
            Ok(QueueBackoff::Linear { step: *step, cap: capped(*step, cap.first())? })
        }
        ("exponential", [first, cap @ ..]) if cap.len() < 2 => {
            Ok(QueueBackoff::Exponential { first: *first, cap: capped(*first, cap.first())? })
        }
        _ => Err(FORMS.to_owned()),
    }
}

/// Reads `off`, `PERCENT` or `PERCENT:OUTCOMES:WINDOW:PROBE`.
pub(super) fn parse_breaker(text: &str) -> Result<QueueBreaker, String> {
    const FORMS: &str = "it is off, PERCENT, or PERCENT:OUTCOMES:WINDOW:PROBE, such as 90:100:30s:10s";
    if text == "off" {
        return Ok(QueueBreaker::Off);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let number = |text: &str| text.parse::<u32>().map_err(|_| FORMS.to_owned());
    match parts.as_slice() {
        [percent] => Ok(QueueBreaker::On {
            failures_percent: number(percent)?,
            outcomes_min: OUTCOMES_MIN,
            window: WINDOW,
            probe_after: PROBE_AFTER,
        }),
        [percent, outcomes, window, probe] => Ok(QueueBreaker::On {
            failures_percent: number(percent)?,
            outcomes_min: number(outcomes)?,
            window: parse_span(window)?,
            probe_after: parse_span(probe)?,
        }),
        _ => Err(FORMS.to_owned()),
    }
}

fn parse_span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{text:?} is no time span: {error}"))
}

fn backoff_text(backoff: QueueBackoff) -> String {
    match backoff {
        QueueBackoff::None => "none".to_owned(),
        QueueBackoff::Fixed { pause } => format!("fixed:{}", span(pause)),
        QueueBackoff::Linear { step, cap } => format!("linear:{}:{}", span(step), span(cap)),
        QueueBackoff::Exponential { first, cap } => format!("exponential:{}:{}", span(first), span(cap)),
        _ => "unknown".to_owned(),
    }
}

fn breaker_text(breaker: QueueBreaker) -> String {
    match breaker {
        QueueBreaker::Off => "off".to_owned(),
        QueueBreaker::On { failures_percent, outcomes_min, window, probe_after } => {
            format!("{failures_percent}:{outcomes_min}:{}:{}", span(window), span(probe_after))
        }
        _ => "unknown".to_owned(),
    }
}

fn order_text(order: QueueOrder) -> &'static str {
    match order {
        QueueOrder::None => "none",
        QueueOrder::Key => "key",
        QueueOrder::Partition => "partition",
        _ => "unknown",
    }
}

fn expiry_text(expiry: OnExpiry) -> &'static str {
    match expiry {
        OnExpiry::Dead => "dead",
        OnExpiry::Drop => "drop",
        _ => "unknown",
    }
}

/// All settings of a group. The names of the JSON keys are a contract.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SettingsRow {
    lease_ms: Option<u64>,
    lease_total_ms_max: Option<u64>,
    attempts_max: Option<u32>,
    backoff: Option<String>,
    order: Option<&'static str>,
    in_flight_max: Option<u32>,
    worker_in_flight_max: Option<u32>,
    oldest_every: Option<u32>,
    look_ahead: Option<u32>,
    entries_max: Option<u32>,
    dead_max: Option<u32>,
    on_expiry: Option<&'static str>,
    breaker: Option<String>,
}

impl SettingsRow {
    pub(super) fn new(settings: QueueSettings) -> Self {
        Self {
            lease_ms: settings.lease.map(ms),
            lease_total_ms_max: settings.lease_total_max.map(ms),
            attempts_max: settings.attempts_max,
            backoff: settings.backoff.map(backoff_text),
            order: settings.order.map(order_text),
            in_flight_max: settings.in_flight_max,
            worker_in_flight_max: settings.worker_in_flight_max,
            oldest_every: settings.oldest_every,
            look_ahead: settings.look_ahead,
            entries_max: settings.entries_max,
            dead_max: settings.dead_max,
            on_expiry: settings.on_expiry.map(expiry_text),
            breaker: settings.breaker.map(breaker_text),
        }
    }

    /// A line a setting, under the name of its option.
    pub(super) fn table(&self) -> String {
        let lasting = |ms: Option<u64>| ms.map(|ms| span(Duration::from_millis(ms)));
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let words = |word: Option<&str>| word.map(str::to_owned);
        let lines = [
            ("lease", lasting(self.lease_ms)),
            ("max-lease", lasting(self.lease_total_ms_max)),
            ("max-attempts", number(self.attempts_max)),
            ("backoff", self.backoff.clone()),
            ("order", words(self.order)),
            ("in-flight", number(self.in_flight_max)),
            ("worker-in-flight", number(self.worker_in_flight_max)),
            ("oldest-every", number(self.oldest_every)),
            ("look-ahead", number(self.look_ahead)),
            ("window", number(self.entries_max)),
            ("max-dead", number(self.dead_max)),
            ("on-expiry", words(self.on_expiry)),
            ("breaker", self.breaker.clone()),
        ];
        let mut table = Table::plain();
        for (name, value) in lines {
            table.row([name.to_owned(), value.unwrap_or_else(|| "-".to_owned())]);
        }
        table.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_backoff_is_understood_and_shown_as_it_is_written() {
        for text in ["none", "fixed:10s", "linear:1s:5m", "exponential:500ms:1h"] {
            assert_eq!(parse_backoff(text).map(backoff_text), Ok(text.to_owned()));
        }
        let linear = QueueBackoff::Linear { step: Duration::from_secs(2), cap: BACKOFF_CAP };
        assert_eq!(parse_backoff("linear:2s"), Ok(linear), "a cap may be left out");
        let long = Duration::from_secs(7_200);
        assert_eq!(parse_backoff("exponential:2h"), Ok(QueueBackoff::Exponential { first: long, cap: long }));
    }

    #[test]
    fn what_is_no_backoff_is_refused_with_what_would_do() {
        for text in ["", "fixed", "none:1s", "fixed:1s:2s", "linear", "exponential:1s:2s:3s", "random:1s"] {
            assert!(parse_backoff(text).unwrap_err().contains("exponential:1s:1m"), "{text}");
        }
        assert!(parse_backoff("fixed:soon").unwrap_err().contains("\"soon\""));
        assert!(parse_backoff("exponential:1m:1s").unwrap_err().contains("shorter"));
    }

    #[test]
    fn a_breaker_is_off_a_share_or_all_of_it() {
        for text in ["off", "50:20:1m:5s"] {
            assert_eq!(parse_breaker(text).map(breaker_text), Ok(text.to_owned()));
        }
        assert_eq!(parse_breaker("80").map(breaker_text), Ok("80:100:30s:10s".to_owned()));
        for text in ["", "on", "50:20", "50:20:1m", "x:20:1m:5s"] {
            assert!(parse_breaker(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_are_shown_under_the_names_of_their_options() {
        let settings = QueueSettings::new().lease(Duration::from_secs(30)).attempts_max(5).breaker(QueueBreaker::Off);
        let row = SettingsRow::new(settings);
        let table = row.table();
        assert!(table.starts_with("lease             30s\nmax-lease         -\nmax-attempts      5\n"), "{table}");
        let json = serde_json::to_string(&row).unwrap();
        assert!(json.starts_with(r#"{"lease_ms":30000,"lease_total_ms_max":null,"attempts_max":5,"backoff":null"#));
        assert!(json.ends_with(r#""on_expiry":null,"breaker":"off"}"#), "{json}");
    }
}
