//! Seeded random numbers that stay the same for ever: SplitMix64, and the distributions that traffic needs.
//!
//! Not from a crate, because the same seed must give the same traffic after an upgrade, or results cannot be compared.

#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in 0..n; 0 for an empty range.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// The index of one weight, each as likely as its share.
    pub(crate) fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut left = self.unit() * weights.clone().sum::<f64>();
        let mut last = 0;
        for (index, weight) in weights.enumerate() {
            last = index;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        last
    }

    /// Time to the next event of a Poisson process with this many events a second, in seconds.
    pub(crate) fn exponential(&mut self, rate: f64) -> f64 {
        -(1.0 - self.unit()).ln() / rate
    }

    /// Log-normal with this median and this sigma.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        // Box-Muller; the second value is thrown away to keep the state one number.
        let (a, b) = (1.0 - self.unit(), self.unit());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        median * (sigma * normal).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = Random::new(7);
        assert_eq!([random.next(), random.next()], [7_191_089_600_892_374_487, 309_689_372_594_955_804]);
    }

    #[test]
    fn distributions_have_their_shape() {
        let mut random = Random::new(1);
        let n = 100_000;
        let mean: f64 = (0..n).map(|_| random.exponential(4.0)).sum::<f64>() / f64::from(n);
        assert!((mean - 0.25).abs() < 0.01, "{mean}");
        let below = (0..n).filter(|_| random.log_normal(30.0, 0.8) < 30.0).count() as f64 / f64::from(n);
        assert!((below - 0.5).abs() < 0.01, "{below}");
        let third = (0..n).filter(|_| random.weighted([1.0, 1.0, 2.0].into_iter()) == 2).count() as f64 / f64::from(n);
        assert!((third - 0.5).abs() < 0.01, "{third}");
    }
}
