//! The confusion matrix of a classifier.

use std::fmt;

use kiln_tensor::{Error, Result};

/// The widest line that [`Display`](fmt::Display) writes.
const MAX_WIDTH: usize = 80;

/// How many confusions are listed when the matrix itself is too wide to show.
const LISTED: usize = 20;

/// Counts how often each class was predicted as each other class.
///
/// [`Display`](fmt::Display) writes it in at most 80 columns: rows are actual classes, columns
/// predicted ones, zeros are dots. A matrix with too many classes for that is summarized by its
/// most frequent confusions.
///
/// ```
/// use kiln::train::ConfusionMatrix;
///
/// let mut matrix = ConfusionMatrix::new(3);
/// for (actual, predicted) in [(0, 0), (1, 1), (1, 2), (2, 2)] {
///     matrix.record(actual, predicted);
/// }
/// assert_eq!(matrix.accuracy(), 0.75);
/// assert_eq!(matrix.recall(1), 0.5);
/// println!("{matrix}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// Row by row: `counts[actual * classes + predicted]`.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// An empty matrix for classes `0..classes`.
    ///
    /// # Panics
    /// If `classes` squared exceeds `usize`.
    pub fn new(classes: usize) -> Self {
        let cells = classes.checked_mul(classes);
        let cells = cells.unwrap_or_else(|| panic!("a matrix of {classes} classes is too large"));
        Self { classes, counts: vec![0; cells] }
    }

    /// The matrix with these counts, row by row: all predictions of actual class 0 first. An error
    /// unless there are `classes` squared of them.
    pub fn from_counts(classes: usize, counts: impl IntoIterator<Item = u64>) -> Result<Self> {
        let counts: Vec<u64> = counts.into_iter().collect();
        if classes.checked_mul(classes) != Some(counts.len()) {
            let rule = format!("{} counts are no matrix of {classes} classes", counts.len());
            return Err(Error::Argument { op: "confusion matrix", rule });
        }
        Ok(Self { classes, counts })
    }

    /// Counts one example of class `actual` that was predicted to be `predicted`.
    ///
    /// # Panics
    /// If either class is not below [`classes`](Self::classes).
    pub fn record(&mut self, actual: usize, predicted: usize) {
        let cell = self.cell(actual, predicted);
        self.counts[cell] += 1;
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of examples recorded.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many examples of class `actual` were predicted to be `predicted`.
    ///
    /// # Panics
    /// If either class is not below [`classes`](Self::classes).
    pub fn count(&self, actual: usize, predicted: usize) -> u64 {
        self.counts[self.cell(actual, predicted)]
    }

    /// The fraction of examples predicted correctly; NaN when none was recorded.
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.total() as f64
    }

    /// The fraction of examples of `class` that were predicted as such; NaN when it has none.
    ///
    /// # Panics
    /// If `class` is not below [`classes`](Self::classes).
    pub fn recall(&self, class: usize) -> f64 {
        self.count(class, class) as f64 / self.row_total(class) as f64
    }

    /// The fraction of predictions of `class` that were correct; NaN when it was never predicted.
    ///
    /// # Panics
    /// If `class` is not below [`classes`](Self::classes).
    pub fn precision(&self, class: usize) -> f64 {
        self.count(class, class) as f64 / self.column_total(class) as f64
    }

    fn cell(&self, actual: usize, predicted: usize) -> usize {
        for (role, class) in [("actual", actual), ("predicted", predicted)] {
            assert!(
                class < self.classes,
                "{role} class {class} is out of range: the confusion matrix has {} classes",
                self.classes
            );
        }
        actual * self.classes + predicted
    }

    fn correct(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    fn row_total(&self, actual: usize) -> u64 {
        (0..self.classes).map(|predicted| self.count(actual, predicted)).sum()
    }

    fn column_total(&self, predicted: usize) -> u64 {
        (0..self.classes).map(|actual| self.count(actual, predicted)).sum()
    }

    fn write_grid(&self, f: &mut fmt::Formatter<'_>, cell: usize, total: usize) -> fmt::Result {
        writeln!(f, "{:7}predicted", "")?;
        write!(f, "{:>6} ", "actual")?;
        (0..self.classes).try_for_each(|class| write!(f, "{class:>cell$}"))?;
        writeln!(f, "{:>total$}{:>9}", "total", "recall")?;
        for actual in 0..self.classes {
            write!(f, "{actual:>6} ")?;
            for predicted in 0..self.classes {
                match self.count(actual, predicted) {
                    0 => write!(f, "{:>cell$}", ".")?,
                    count => write!(f, "{count:>cell$}")?,
                }
            }
            let recall = percent(self.recall(actual), 1);
            writeln!(f, "{:>total$}{recall:>9}", self.row_total(actual))?;
        }
        write!(f, "{:>6} ", "total")?;
        (0..self.classes).try_for_each(|class| write!(f, "{:>cell$}", self.column_total(class)))?;
        writeln!(f, "{:>total$}", self.total())
    }

    fn write_confusions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut wrong: Vec<(u64, usize, usize)> = (0..self.counts.len())
            .map(|cell| (self.counts[cell], cell / self.classes, cell % self.classes))
            .filter(|&(count, actual, predicted)| count > 0 && actual != predicted)
            .collect();
        // The most frequent first; ties in the order of the classes.
        wrong.sort_by_key(|&(count, ..)| std::cmp::Reverse(count));

        writeln!(f, "{:>9}{:>11}{:>9}  of actual", "actual", "predicted", "count")?;
        for &(count, actual, predicted) in wrong.iter().take(LISTED) {
            let share = percent(count as f64 / self.row_total(actual) as f64, 1);
            writeln!(f, "{actual:>9}{predicted:>11}{count:>9}{share:>11}")?;
        }
        match wrong.len().saturating_sub(LISTED) {
            0 => Ok(()),
            rest => writeln!(f, "and {rest} more"),
        }
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = (0..self.classes).map(|class| self.column_total(class)).max().unwrap_or(0);
        let digits = width(largest.max(self.classes as u64));
        let total = width(self.total()).max(5) + 2;
        // Wide gaps between the columns read better, where there is room.
        let fits = |gap: usize| 7 + self.classes * (digits + gap) + total + 9 <= MAX_WIDTH;
        match [3, 2, 1].into_iter().find(|&gap| fits(gap)) {
            Some(gap) => self.write_grid(f, digits + gap, total)?,
            None => self.write_confusions(f)?,
        }
        let accuracy = percent(self.accuracy(), 2);
        write!(f, "accuracy {accuracy} ({} of {})", self.correct(), self.total())
    }
}

/// The number of digits of `count`.
fn width(count: u64) -> usize {
    count.to_string().len()
}

/// A fraction in percent, or a dash when there was nothing to take a fraction of.
fn percent(fraction: f64, decimals: usize) -> String {
    if fraction.is_nan() { "-".into() } else { format!("{:.decimals$} %", 100.0 * fraction) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(classes: usize, count: impl Fn(usize, usize) -> u64) -> ConfusionMatrix {
        let mut matrix = ConfusionMatrix::new(classes);
        for actual in 0..classes {
            for predicted in 0..classes {
                matrix.counts[actual * classes + predicted] = count(actual, predicted);
            }
        }
        matrix
    }

    fn widest_line(matrix: &ConfusionMatrix) -> usize {
        matrix.to_string().lines().map(|line| line.chars().count()).max().unwrap()
    }

    #[test]
    fn counts_and_fractions() {
        let mut matrix = ConfusionMatrix::new(3);
        for (actual, predicted) in [(0, 0), (0, 0), (0, 1), (1, 1)] {
            matrix.record(actual, predicted);
        }
        assert_eq!((matrix.classes(), matrix.total()), (3, 4));
        assert_eq!(matrix.count(0, 0), 2);
        assert_eq!(matrix.count(1, 0), 0);
        assert_eq!(matrix.accuracy(), 0.75);
        assert_eq!(matrix.recall(0), 2.0 / 3.0);
        assert_eq!(matrix.precision(1), 0.5);
        assert!(matrix.recall(2).is_nan() && matrix.precision(2).is_nan());
    }

    #[test]
    fn shows_the_grid() {
        let matrix = filled(3, |a, p| [[12, 0, 1], [0, 7, 0], [0, 0, 0]][a][p]);
        let expected = [
            "       predicted",
            "actual     0    1    2  total   recall",
            "     0    12    .    1     13   92.3 %",
            "     1     .    7    .      7  100.0 %",
            "     2     .    .    .      0        -",
            " total    12    7    1     20",
            "accuracy 95.00 % (19 of 20)",
        ];
        assert_eq!(matrix.to_string().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn shows_an_empty_matrix() {
        assert!(ConfusionMatrix::new(2).to_string().ends_with("accuracy - (0 of 0)"));
        assert!(ConfusionMatrix::new(0).to_string().ends_with("accuracy - (0 of 0)"));
    }

    #[test]
    fn fits_eighty_columns() {
        for classes in [1, 2, 10, 14, 19, 20, 28, 29, 60, 1000] {
            for scale in [1, 100, 100_000] {
                let matrix = filled(classes, |a, p| scale * u64::from(a == p || (a + 1) == p));
                assert!(widest_line(&matrix) <= MAX_WIDTH, "{classes} classes:\n{matrix}");
            }
        }
        let digits = filled(10, |a, p| if a == p { 990 } else { 1 }).to_string();
        assert!(digits.contains("predicted\nactual "), "ten classes show the grid:\n{digits}");
    }

    #[test]
    fn lists_the_confusions_of_many_classes() {
        let matrix = filled(50, |a, p| match (a, p) {
            (7, 9) => 3,
            (2, 3) => 30,
            _ => u64::from(a == p) * 30,
        });
        let lines = matrix.to_string();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["2", "3", "30", "50.0", "%"]);
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["7", "9", "3", "9.1", "%"]);
        assert_eq!(lines[3], "accuracy 97.85 % (1500 of 1533)");
    }

    #[test]
    #[should_panic(expected = "actual class 3 is out of range: the confusion matrix has 3 classes")]
    fn refuses_an_unknown_actual_class() {
        ConfusionMatrix::new(3).record(3, 0);
    }

    #[test]
    #[should_panic(expected = "predicted class 9 is out of range")]
    fn refuses_an_unknown_predicted_class() {
        ConfusionMatrix::new(3).record(0, 9);
    }
}
