//! The one source of random numbers: a small generator (SplitMix64). Its seed decides everything that happens.

/// A seeded generator.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator for a seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must not begin alike.
        let mut rng = Self(seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1));
        rng.next();
        rng
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it is no iterator: it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` up to but not including `high`.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        let width = (high - low).max(1) as u64;
        low + (self.next() % width) as i64
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        (self.next() % (length.max(1) as u64)) as usize
    }

    /// True in this many of a thousand cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.next() % 1_000 < per_mille
    }

    /// One of these.
    pub fn pick<'p, T>(&mut self, from: &'p [T]) -> Option<&'p T> {
        match from.is_empty() {
            true => None,
            false => from.get(self.index(from.len())),
        }
    }

    /// Sixteen bytes, as for an id.
    pub fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next().to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything_and_neighbours_differ() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [rng.next(), rng.next()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut rng = Rng::new(3);
        assert!((0..100).all(|_| (5..9).contains(&rng.range(5, 9))));
        assert!(!rng.chance(0) && rng.chance(1_000));
    }
}
