//! Which partition a record with a key belongs to: the choice of Kafka's Java client, bit for bit, so that the records
//! of one key meet in one partition whoever produced them.

use highwater_types::PartitionId;

/// The partition, of `count`, of a key. `count` is not 0; were it, the answer would be partition 0.
pub(super) fn partition_of(key: &[u8], count: u32) -> PartitionId {
    let positive = murmur2(key) & 0x7fff_ffff;
    PartitionId::new(positive % count.max(1))
}

/// MurmurHash2 in 32 bits with the seed that Kafka uses.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut words = data.chunks_exact(4);
    // The length is mixed in as 32 bits; a key has fewer.
    #[allow(clippy::cast_possible_truncation)]
    let mut hash = SEED ^ data.len() as u32;
    for word in words.by_ref() {
        let mut k = word.iter().rev().fold(0, |k, &byte| (k << 8) | u32::from(byte)).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |k, &byte| (k << 8) | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_java_client() {
        // The signed values that Kafka's own tests pin.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_partition_is_always_one_of_the_topic() {
        for count in [1, 2, 3, 7, 10_000] {
            for key in 0..1_000_u32 {
                assert!(partition_of(&key.to_be_bytes(), count).get() < count);
            }
        }
        assert_eq!(partition_of(b"foobar", 10), PartitionId::new((790_332_482_u32.wrapping_neg() & 0x7fff_ffff) % 10));
        assert_eq!(partition_of(b"x", 0), PartitionId::new(0));
    }
}
