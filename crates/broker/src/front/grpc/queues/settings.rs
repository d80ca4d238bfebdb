//! Settings of a group: from the wire and back.

use highwater_groups::queue::{Backoff, BreakerConfig, OnExpiry, Order, QueueConfig};
use highwater_proto::v1;
use highwater_proto::v1::queue_backoff::Kind;

use crate::front::failure::Failure;

/// What a request changes of settings; everything else stays as it is.
pub(super) fn changed(config: QueueConfig, settings: &v1::QueueSettings) -> Result<QueueConfig, Failure> {
    let size = |asked: Option<u32>, now: usize| asked.map_or(now, |asked| usize::try_from(asked).unwrap_or(usize::MAX));
    let changed = QueueConfig {
        lease_ms: settings.lease_ms.unwrap_or(config.lease_ms),
        lease_total_ms_max: settings.lease_total_ms_max.unwrap_or(config.lease_total_ms_max),
        attempts_max: settings.attempts_max.unwrap_or(config.attempts_max),
        backoff: settings.backoff.as_ref().map_or(Ok(config.backoff), backoff_of)?,
        order: match settings.order() {
            v1::QueueOrder::Unspecified => config.order,
            v1::QueueOrder::None => Order::None,
            v1::QueueOrder::Key => Order::Key,
            v1::QueueOrder::Partition => Order::Partition,
        },
        in_flight_max: size(settings.in_flight_max, config.in_flight_max),
        worker_in_flight_max: size(settings.worker_in_flight_max, config.worker_in_flight_max),
        oldest_every: settings.oldest_every.unwrap_or(config.oldest_every),
        look_ahead: size(settings.look_ahead, config.look_ahead),
        entries_max: size(settings.entries_max, config.entries_max),
        dead_max: size(settings.dead_max, config.dead_max),
        on_expiry: match settings.on_expiry() {
            v1::OnExpiry::Unspecified => config.on_expiry,
            v1::OnExpiry::Dead => OnExpiry::Dead,
            v1::OnExpiry::Drop => OnExpiry::Drop,
        },
        breaker: settings.breaker.as_ref().map_or(Ok(config.breaker), breaker_of)?,
    };
    changed.check()?;
    Ok(changed)
}

fn backoff_of(backoff: &v1::QueueBackoff) -> Result<Backoff, Failure> {
    match backoff.kind {
        Some(Kind::None(_)) => Ok(Backoff::None),
        Some(Kind::Fixed(v1::BackoffFixed { pause_ms })) => Ok(Backoff::Fixed { pause_ms }),
        Some(Kind::Linear(v1::BackoffLinear { step_ms, cap_ms })) => Ok(Backoff::Linear { step_ms, cap_ms }),
        Some(Kind::Exponential(v1::BackoffExponential { first_ms, cap_ms })) => {
            Ok(Backoff::Exponential { first_ms, cap_ms })
        }
        None => Err(Failure::invalid("the back-off says nothing that this version knows")),
    }
}

fn breaker_of(breaker: &v1::QueueBreaker) -> Result<Option<BreakerConfig>, Failure> {
    if breaker.is_off {
        return Ok(None);
    }
    let failures_percent = u8::try_from(breaker.failures_percent)
        .map_err(|_| Failure::invalid("the breaker's share of failures is 1 to 100 per cent"))?;
    Ok(Some(BreakerConfig {
        failures_percent,
        outcomes_min: breaker.outcomes_min,
        window_ms: breaker.window_ms,
        probe_after_ms: breaker.probe_after_ms,
    }))
}

/// All of them, as they are.
pub(super) fn to_wire(config: &QueueConfig) -> v1::QueueSettings {
    let size = |size: usize| Some(u32::try_from(size).unwrap_or(u32::MAX));
    let backoff = match config.backoff {
        Backoff::None => Kind::None(v1::BackoffNone {}),
        Backoff::Fixed { pause_ms } => Kind::Fixed(v1::BackoffFixed { pause_ms }),
        Backoff::Linear { step_ms, cap_ms } => Kind::Linear(v1::BackoffLinear { step_ms, cap_ms }),
        Backoff::Exponential { first_ms, cap_ms } => Kind::Exponential(v1::BackoffExponential { first_ms, cap_ms }),
    };
    let order = match config.order {
        Order::None => v1::QueueOrder::None,
        Order::Key => v1::QueueOrder::Key,
        Order::Partition => v1::QueueOrder::Partition,
    };
    let on_expiry = match config.on_expiry {
        OnExpiry::Dead => v1::OnExpiry::Dead,
        OnExpiry::Drop => v1::OnExpiry::Drop,
    };
    let breaker = match config.breaker {
        None => v1::QueueBreaker { is_off: true, ..Default::default() },
        Some(breaker) => v1::QueueBreaker {
            is_off: false,
            failures_percent: breaker.failures_percent.into(),
            outcomes_min: breaker.outcomes_min,
            window_ms: breaker.window_ms,
            probe_after_ms: breaker.probe_after_ms,
        },
    };
    v1::QueueSettings {
        lease_ms: Some(config.lease_ms),
        lease_total_ms_max: Some(config.lease_total_ms_max),
        attempts_max: Some(config.attempts_max),
        backoff: Some(v1::QueueBackoff { kind: Some(backoff) }),
        order: order.into(),
        in_flight_max: size(config.in_flight_max),
        worker_in_flight_max: size(config.worker_in_flight_max),
        oldest_every: Some(config.oldest_every),
        look_ahead: size(config.look_ahead),
        entries_max: size(config.entries_max),
        dead_max: size(config.dead_max),
        on_expiry: on_expiry.into(),
        breaker: Some(breaker),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_sets_the_same_and_what_is_absent_changes_nothing() {
        let config = QueueConfig {
            backoff: Backoff::Linear { step_ms: 5, cap_ms: 50 },
            order: Order::Key,
            on_expiry: OnExpiry::Drop,
            breaker: None,
            ..QueueConfig::default()
        };
        assert_eq!(changed(QueueConfig::default(), &to_wire(&config)), Ok(config));
        assert_eq!(changed(config, &v1::QueueSettings::default()), Ok(config));
        let refused = changed(config, &v1::QueueSettings { attempts_max: Some(0), ..Default::default() });
        assert_eq!(refused.unwrap_err().message, "the attempt limit is from 1 to 1000, not 0");
    }
}
