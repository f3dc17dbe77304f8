//! The axes of a chart: their ranges and round ticks.

/// The range of an axis and its ticks: the multiples of `step` in that range.
pub(super) struct Axis {
    pub(super) low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// An axis that spans `values`, with at most about `ticks` ticks.
    pub(super) fn new(values: impl Iterator<Item = f64>, ticks: usize) -> Self {
        let (mut low, mut high, mut whole) = (f64::MAX, f64::MIN, true);
        for value in values {
            (low, high) = (low.min(value), high.max(value));
            whole &= value.fract() == 0.0;
        }
        if low > high {
            (low, high, whole) = (0.0, 1.0, false);
        }
        let size = low.abs().max(high.abs());
        if high - low <= 1e-9 * size || size == 0.0 {
            // One value only: give it some room on both sides.
            let room = if size == 0.0 { 1.0 } else { 0.1 * size };
            (low, high) = (low - room, high + room);
        }
        let step = nice_step((high - low) / (ticks - 1) as f64);
        // There is no epoch 1.5.
        Self { low, high, step: if whole && step < 1.0 { 1.0 } else { step } }
    }

    /// The same axis with a tick at each end.
    pub(super) fn rounded_out(self) -> Self {
        let Self { low, high, step } = self;
        // A value that is a tick but for its rounding error must not add another one.
        let low = (low / step + 1e-6).floor() * step;
        Self { low, high: (high / step - 1e-6).ceil() * step, step }
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        let first = (self.low / self.step - 1e-6).ceil();
        let last = (self.high / self.step + 1e-6).floor();
        let step = self.step;
        (0..=(last - first).max(0.0) as u64).map(move |i| (first + i as f64) * step)
    }

    /// Where `value` lies between the ends, from 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    pub(super) fn label(&self, tick: f64) -> String {
        let exponent = |v: f64| (v.abs().log10() + 1e-9).floor() as i32;
        let (size, step) = (exponent(self.low.abs().max(self.high.abs())), exponent(self.step));
        let text = if tick == 0.0 {
            "0".into()
        } else if size >= 6 || step <= -5 {
            format!("{tick:.*e}", (exponent(tick) - step).clamp(0, 9) as usize)
        } else {
            format!("{tick:.*}", (-step).max(0) as usize)
        };
        text.replace('-', "\u{2212}")
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= 0.999 * step);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64]) -> Vec<String> {
        let axis = Axis::new(values.iter().copied(), 6).rounded_out();
        axis.ticks().map(|tick| axis.label(tick)).collect()
    }

    #[test]
    fn steps_are_one_two_or_five() {
        for (step, nice) in [(0.9, 1.0), (1.0, 1.0), (1.1, 2.0), (3.0, 5.0), (6.0, 10.0)] {
            assert_eq!(nice_step(step), nice);
            assert!((nice_step(step * 1e-3) - nice * 1e-3).abs() < 1e-12);
        }
    }

    #[test]
    fn labels_have_the_digits_they_need() {
        assert_eq!(labels(&[0.03, 2.31]), ["0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
        assert_eq!(labels(&[0.91, 0.99]), ["0.90", "0.92", "0.94", "0.96", "0.98", "1.00"]);
        assert_eq!(labels(&[-1.0, 1.0]), ["\u{2212}1", "0", "1"]);
        assert_eq!(labels(&[0.5, 2.1e7]), ["0", "5e6", "1.0e7", "1.5e7", "2.0e7", "2.5e7"]);
        assert_eq!(labels(&[0.0, 2e-6])[1], "5e\u{2212}7");
    }

    #[test]
    fn a_rounding_error_adds_no_tick() {
        assert_eq!(labels(&[0.1 + 0.2, 0.8]).first().unwrap(), "0.3");
    }

    #[test]
    fn whole_numbers_have_whole_ticks() {
        let axis = Axis::new([1.0, 2.0, 3.0].into_iter(), 7);
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn ticks_stay_few() {
        for values in [[0.0, 0.0], [7.0, 7.0], [1e300, -1e300], [5e-324, 1e-310], [1e9, 1e9 + 3.0]]
        {
            let count = labels(&values).len();
            assert!((1..=12).contains(&count), "{values:?}: {count} ticks");
        }
    }
}
