//! The units of settings: sizes, durations, and the word that leaves a choice to the node.
//!
//! A bare number is a size in bytes, never a duration: nobody should have to guess whether 5 is seconds or milliseconds.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A size: `1048576`, `64KiB`, `1.5GiB`, `10MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A duration with its unit: `500ms`, `5s`, `1h 30m`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A value, or the word `auto`: the node chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auto<T> {
    /// The node chooses.
    Auto,
    /// This.
    Value(T),
}

/// Texts: a list in the file, separated by commas in a variable or flag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List(pub(super) Vec<String>);

impl List {
    fn of_text(text: &str) -> Self {
        Self(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<List, E> {
                Ok(List::of_text(text))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<List, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_any(ListVisitor)
    }
}

/// Why a text is no size or duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error("expected a size such as 1048576, 64KiB or 1.5GiB")]
    Size,
    /// Not a duration.
    #[error("expected a duration with its unit, such as 500ms, 5s, 1h or 7d")]
    Period,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Suffixes in lower case, the longer before the shorter that ends alike.
const SUFFIXES: [(&str, u64); 9] = [
    ("kib", KIB),
    ("mib", MIB),
    ("gib", GIB),
    ("tib", TIB),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim().to_ascii_lowercase();
        let (number, factor) = SUFFIXES
            .iter()
            .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?.trim_end(), *factor)))
            .unwrap_or((&text, 1));
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or(UnitError::Size);
        }
        let (whole, fraction) = number.split_once('.').ok_or(UnitError::Size)?;
        let is_plain = |digits: &str| (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_plain(whole) || !is_plain(fraction) {
            return Err(UnitError::Size);
        }
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| UnitError::Size)?);
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| UnitError::Size)?;
        u64::try_from(digits * u128::from(factor) / scale).map(Self).map_err(|_| UnitError::Size)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
        match units.iter().find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((size, name)) => write!(f, "{}{name}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        humantime::parse_duration(text.trim()).map(Self).map_err(|_| UnitError::Period)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<T: FromStr> FromStr for Auto<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Value) }
    }
}

/// Reads a text or a whole number through `FromStr`.
struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a whole number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

macro_rules! deserialize_through_from_str {
    ($([$($generics:tt)*] $name:ty;)+) => {
        $(impl<'de, $($generics)*> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextVisitor(PhantomData))
            }
        })+
    };
}

deserialize_through_from_str! {
    [] ByteSize;
    [] Period;
    [T: FromStr<Err: fmt::Display>] Auto<T>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let size = |text: &str| text.parse::<ByteSize>().map(|size| size.0);
        assert_eq!(size("1048576"), Ok(1 << 20));
        assert_eq!(size("64KiB"), Ok(64 << 10));
        assert_eq!(size("1.5 GiB"), Ok(3 << 29));
        assert_eq!(size("10MB"), Ok(10_000_000));
        for bad in ["", "-1", "1.", ".5", "1e3", "12 apples", "99999999999TiB", "1.5.5MiB"] {
            assert_eq!(size(bad), Err(UnitError::Size), "{bad}");
        }
        assert_eq!(ByteSize(64 << 20).to_string(), "64MiB");
        assert_eq!(ByteSize(1_000).to_string(), "1000");
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!("7d".parse(), Ok(Period(Duration::from_secs(7 * 86_400))));
        assert_eq!("1h 30m".parse(), Ok(Period(Duration::from_secs(5_400))));
        assert_eq!("5".parse::<Period>(), Err(UnitError::Period));
        assert_eq!("-5s".parse::<Period>(), Err(UnitError::Period));
    }

    #[test]
    fn words() {
        assert_eq!("auto".parse::<Auto<ByteSize>>(), Ok(Auto::Auto));
        assert_eq!("none".parse::<Auto<ByteSize>>(), Err(UnitError::Size));
    }
}
