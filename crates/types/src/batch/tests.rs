//! Batches built, checked and read again; every refusal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use super::*;
use crate::{Timestamp, limits};

#[test]
fn a_batch_comes_back_as_it_was_built() {
    for compression in Compression::ALL {
        let mut builder = BatchBuilder::new(compression);
        for i in 0..100 {
            builder.append(Timestamp::from_ms(1000 - i), Some(b"key"), Some(&[7; 1000]), NO_HEADERS).unwrap();
        }
        let batch = ValidBatch::check(builder.finish().unwrap(), limits::BATCH_BYTES_MAX).unwrap();
        assert_eq!(batch.header().max_timestamp, Timestamp::from_ms(1000));
        assert_eq!(records(batch.into_bytes()).unwrap().map(Result::unwrap).count(), 100, "{compression}");
    }
}
