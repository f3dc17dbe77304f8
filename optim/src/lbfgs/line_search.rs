//! The line search of Nocedal & Wright (Numerical Optimization, algorithms 3.5 and 3.6), with the
//! constants of PyTorch.

use kiln_tensor::AnyTensor;

/// The loss at a point of the line.
#[derive(Clone)]
pub struct Point {
    /// Where, in lengths of the direction.
    pub length: f64,
    pub value: f64,
    pub gradient: AnyTensor,
    /// The gradient along the line.
    pub slope: f64,
}

/// Sufficient decrease, and sufficient flatness.
const DECREASE: f64 = 1e-4;
const FLATNESS: f64 = 0.9;

/// A point along the line that fulfils the strong Wolfe conditions, or the best of those tried.
///
/// `start` is the point at 0, `length` the first guess, `width` the largest element of the direction.
/// The line is evaluated at most `most` times after the first guess.
pub fn strong_wolfe(
    at: &mut impl FnMut(f64) -> Point,
    start: Point,
    length: f64,
    width: f64,
    tolerance: f64,
    most: usize,
) -> Point {
    let too_high =
        |point: &Point| point.value > start.value + DECREASE * point.length * start.slope;
    let flat = |point: &Point| point.slope.abs() <= -FLATNESS * start.slope;
    // Longer and longer, until two points have a minimum between them.
    let (mut last, mut point, mut tried) = (start.clone(), at(length), 0);
    let [mut low, mut high] = loop {
        if tried == most {
            break [start.clone(), point];
        }
        if too_high(&point) || tried > 1 && point.value >= last.value {
            break [last, point];
        }
        if flat(&point) {
            return point;
        }
        if point.slope >= 0.0 {
            break [last, point];
        }
        let least = point.length + 0.01 * (point.length - last.length);
        let next = cubic_minimum(&last, &point, least, point.length * 10.0);
        (last, point) = (point, at(next));
        tried += 1;
    };
    if low.value > high.value {
        std::mem::swap(&mut low, &mut high);
    }
    // Closer and closer between them; `low` is the better one.
    let mut stuck = false;
    while tried < most && (high.length - low.length).abs() * width >= tolerance {
        let (least, largest) = (low.length.min(high.length), low.length.max(high.length));
        let mut next = cubic_minimum(&low, &high, least, largest);
        // Not too near to an end, a second time or beyond it.
        let margin = 0.1 * (largest - least);
        if (largest - next).min(next - least) < margin {
            if stuck || next >= largest || next <= least {
                let nearer = (next - largest).abs() < (next - least).abs();
                next = if nearer { largest - margin } else { least + margin };
                stuck = false;
            } else {
                stuck = true;
            }
        } else {
            stuck = false;
        }
        let point = at(next);
        tried += 1;
        if too_high(&point) || point.value >= low.value {
            high = point;
            if low.value > high.value {
                std::mem::swap(&mut low, &mut high);
            }
        } else if flat(&point) {
            return point;
        } else {
            if point.slope * (high.length - low.length) >= 0.0 {
                high = low;
            }
            low = point;
        }
    }
    low
}

/// Where the cubic through two points with these slopes is least, between the bounds.
fn cubic_minimum(a: &Point, b: &Point, least: f64, largest: f64) -> f64 {
    let (a, b) = if a.length <= b.length { (a, b) } else { (b, a) };
    let mean = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.length - b.length);
    let square = mean * mean - a.slope * b.slope;
    if square >= 0.0 {
        let root = square.sqrt();
        let share = (b.slope + root - mean) / (b.slope - a.slope + 2.0 * root);
        let minimum = b.length - (b.length - a.length) * share;
        // Also where it is no number.
        return minimum.max(least).min(largest);
    }
    (least + largest) / 2.0
}
