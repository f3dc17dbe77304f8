//! Products against three plain loops in double precision.

use super::product::{COLUMNS, DEPTH, ROWS, SHARED};
use super::*;
use half::{bf16, f16};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Small and repeatable (a linear congruential generator, upper bits).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }
    /// Multiples of 1/8 between -2 and 2: exact in every storage type.
    fn value(&mut self) -> f64 {
        self.below(33) as f64 / 8.0 - 2.0
    }
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// The instruction sets of this processor.
fn levels() -> Vec<Level> {
    let all = [Level::Baseline, Level::Avx2, Level::Avx512];
    all.into_iter().filter(|&level| level <= simd::level()).collect()
}

/// Numbers that a test can make and look at.
trait Number: Copy + PartialEq + std::fmt::Debug {
    fn from(x: f64) -> Self;
    fn to(self) -> f64;
}
macro_rules! number {
    ($($t:ty: $from:expr, $to:expr;)*) => {$(
        impl Number for $t {
            fn from(x: f64) -> Self { $from(x) }
            fn to(self) -> f64 { $to(self) }
        }
    )*};
}
number! {
    f32: |x| x as f32, |x| x as f64;
    f64: |x| x, |x| x;
    f16: f16::from_f64, f16::to_f64;
    bf16: bf16::from_f64, bf16::to_f64;
}

/// A random operand in memory with room for any layout.
struct Operand<S> {
    values: Vec<S>,
    start: usize,
    line: isize,
    depth: isize,
}

impl<S: Number> Operand<S> {
    fn new(random: &mut Random, lines: usize, depth: usize, layout: &str) -> Self {
        let gap = random.below(3);
        let (line, step) = match layout {
            "lines" => (1, lines + gap),
            "depth" => (depth + gap, 1),
            "spread" => (2, 2 * lines + gap),
            "line" => (0, 1),
            "step" => (1, 0),
            _ => (0, 0),
        };
        let extent = |count: usize, stride: usize| count.saturating_sub(1) * stride;
        let (lines, depth) = (extent(lines, line), extent(depth, step));
        let values = (0..lines + depth + 1).map(|_| S::from(random.value())).collect();
        // Either direction may run backwards, from its far end.
        let (back_line, back_depth) = (random.below(4) == 0, random.below(4) == 0);
        let sign = |back: bool, stride: usize| if back { -(stride as isize) } else { stride as _ };
        Operand {
            values,
            start: if back_line { lines } else { 0 } + if back_depth { depth } else { 0 },
            line: sign(back_line, line),
            depth: sign(back_depth, step),
        }
    }
    fn source(&self) -> Strided<'_, S> {
        // SAFETY: `new` made room for all elements in either direction.
        unsafe { Strided::new(self.values.as_ptr().add(self.start), self.line, self.depth) }
    }
    fn at(&self, line: usize, k: usize) -> f64 {
        let offset = line as isize * self.line + k as isize * self.depth;
        self.values[(self.start as isize + offset) as usize].to()
    }
}

/// A source that hides where it is, as one that computes its elements does.
struct Hidden<'a, S>(Strided<'a, S>);

impl<T: Real, S> Source<T> for Hidden<'_, S>
where
    for<'a> Strided<'a, S>: Source<T>,
{
    fn pack(&self, lines: Range<usize>, depth: Range<usize>, width: usize, out: &mut [T]) {
        // Every element is written, whatever the buffer held.
        self.0.pack(lines, depth, width, out);
    }
}

/// Adds 512 row + column to each element and counts what it was given.
struct Label(AtomicUsize);

impl<T: Number> Epilogue<T> for Label {
    fn apply(&self, row: usize, column: usize, run: &mut [T]) {
        assert!(!run.is_empty());
        self.0.fetch_add(run.len(), Ordering::Relaxed);
        for (i, x) in run.iter_mut().enumerate() {
            *x = T::from(x.to() + (512 * row + column + i) as f64);
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    size: (usize, usize, usize),
    layouts: (&'static str, &'static str),
    hidden: bool,
    accumulate: bool,
    epilogue: bool,
}

/// Computes `case` at every level with one thread and with all, and compares.
fn check<T: Real + Number, SA, SB>(random: &mut Random, case: &Case)
where
    SA: Number + Sync,
    SB: Number + Sync,
    for<'a> Strided<'a, SA>: Source<T>,
    for<'a> Strided<'a, SB>: Source<T>,
{
    let (m, n, k) = case.size;
    let a = Operand::<SA>::new(random, m, k, case.layouts.0);
    let b = Operand::<SB>::new(random, n, k, case.layouts.1);
    let stride = n + random.below(4);
    let before: Vec<T> = (0..m * stride + 8).map(|_| T::from(random.value())).collect();
    let mut expected: Vec<f64> = before.iter().map(|x| x.to()).collect();
    for row in 0..m {
        for column in 0..n {
            let sum: f64 = (0..k).map(|i| a.at(row, i) * b.at(column, i)).sum();
            let c = &mut expected[row * stride + column];
            *c = sum + if case.accumulate { *c } else { 0.0 };
            if case.epilogue {
                *c += (512 * row + column) as f64;
            }
        }
    }
    for level in levels() {
        let mut one = None;
        for threads in [Threads::One, Threads::Pool] {
            let mut c = before.clone();
            let label = Label(AtomicUsize::new(0));
            let (a, b) = (a.source(), b.source());
            let (hidden_a, hidden_b) = (Hidden(a), Hidden(b));
            let product = Product {
                tiles: T::tiles(level),
                m,
                n,
                k,
                a: if case.hidden { &hidden_a } else { &hidden_a.0 },
                b: if case.hidden { &hidden_b } else { &hidden_b.0 },
                c: c.as_mut_ptr(),
                c_stride: stride,
                accumulate: case.accumulate,
                epilogue: case.epilogue.then_some(&label),
            };
            // SAFETY: `c` has m rows of `stride` elements, and the processor has `level`.
            unsafe { product.run(threads) };
            assert_eq!(label.0.into_inner(), if case.epilogue { m * n } else { 0 }, "{case:?}");
            for (i, (&x, &y)) in c.iter().zip(&expected).enumerate() {
                // Values are multiples of 1/64 and sums small enough to be exact in f32.
                assert!(x.to() == y, "{case:?} {level:?} {threads:?} at {i}: {x:?}, expected {y}");
            }
            match &one {
                None => one = Some(c),
                Some(one) => assert_eq!(one, &c, "{case:?}"),
            }
        }
    }
}

const LAYOUTS: [&str; 6] = ["lines", "depth", "spread", "line", "step", "one"];

fn case(random: &mut Random, size: (usize, usize, usize)) -> Case {
    Case {
        size,
        layouts: (random.pick(&LAYOUTS), random.pick(&LAYOUTS)),
        hidden: random.below(4) == 0,
        accumulate: random.below(2) == 0,
        epilogue: random.below(2) == 0,
    }
}

/// Sizes up to 20, and one more than what a vector, tile or pair of tiles holds.
#[test]
fn small_products() {
    let mut random = Random(1);
    let around = [31, 32, 33, 40, 47, 64, 65];
    for _ in 0..2000 {
        let mut side =
            || if random.below(8) == 0 { random.pick(&around) } else { random.below(21) };
        let size = (side(), side(), side());
        let case = case(&mut random, size);
        match random.below(6) {
            0 => check::<f64, f64, f64>(&mut random, &case),
            1 => check::<f32, f16, f32>(&mut random, &case),
            2 => check::<f32, bf16, f16>(&mut random, &case),
            3 => check::<f64, bf16, f32>(&mut random, &case),
            _ => check::<f32, f32, f32>(&mut random, &case),
        }
    }
}

/// Sizes on both sides of every block boundary.
#[test]
fn large_products() {
    let mut random = Random(2);
    let rows = [1, 3, 14, 29, 57, ROWS - 1, ROWS + 1, 2 * ROWS + 5];
    let columns = [1, 10, 33, 64, 65, COLUMNS - 1, COLUMNS + 7, 3 * COLUMNS + 1];
    let depths = [1, 63, DEPTH - 1, DEPTH, DEPTH + 1, 2 * DEPTH + 3];
    for round in 0..60 {
        let size = (random.pick(&rows), random.pick(&columns), random.pick(&depths));
        let case = case(&mut random, size);
        match round % 6 {
            0 => check::<f64, f64, f64>(&mut random, &case),
            1 => check::<f32, f16, bf16>(&mut random, &case),
            _ => check::<f32, f32, f32>(&mut random, &case),
        }
    }
}

/// More columns and depth than are packed at a time.
#[test]
fn more_than_fits_the_shared_panels() {
    let mut random = Random(3);
    for size in [(45, SHARED / 1000 + 50, 1537), (3 * 14, 70, SHARED / 64), (30, SHARED / 900, 900)]
    {
        for layouts in [("depth", "lines"), ("lines", "depth")] {
            let case = Case { size, layouts, hidden: false, accumulate: true, epilogue: true };
            // Sums stay exact only while they are short, so here is room for more bits.
            check::<f64, f32, f32>(&mut random, &case);
        }
    }
}

/// Sums that are rounded have the same bits with any number of threads.
#[test]
fn threads_do_not_change_bits() {
    let mut random = Random(5);
    let sizes = [(256, 256, 256), (77, 700, 500), (1, 3000, 700), (3000, 1, 700), (3, 999, 4000)];
    for (m, n, k) in sizes.into_iter().chain([(700, 10, 800), (64, 64, 9000), (1000, 33, 100)]) {
        for transposed in [false, true] {
            let mut values = |count| -> Vec<f32> {
                (0..count).map(|_| random.below(1 << 24) as f32 / 3e6 - 2.0).collect()
            };
            let (a, b) = (values(m * k), values(n * k));
            let compute = |threads| {
                let mut c = vec![0.0f32; m * n];
                let stride = |lines: usize, flip| {
                    if flip { (1, lines as isize) } else { (k as isize, 1) }
                };
                let (a_stride, b_stride) = (stride(m, transposed), stride(n, !transposed));
                // SAFETY: the operands and C have these sizes.
                unsafe {
                    let a = Strided::new(a.as_ptr(), a_stride.0, a_stride.1);
                    let b = Strided::new(b.as_ptr(), b_stride.0, b_stride.1);
                    gemm::<f32>(m, n, k, &a, &b, c.as_mut_ptr(), n, false, None, threads);
                }
                c
            };
            let one = compute(Threads::One);
            for threads in [1, 2, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let many = pool.install(|| compute(Threads::Pool));
                assert!(one.iter().zip(&many).all(|(x, y)| x.to_bits() == y.to_bits()));
            }
        }
    }
}

/// Whole operands of special values: zero times infinity must reach the result, and padding must
/// not make any of its own.
#[test]
fn infinities_and_nan() {
    for k in [1, 5, 400] {
        let (m, n) = (17, 35);
        let a = vec![f32::INFINITY; m * k];
        let mut b = vec![1.0f32; n * k];
        b[3] = f32::NAN;
        let mut c = vec![0.0f32; m * n];
        // SAFETY: the operands and C have these sizes.
        unsafe {
            let (a, b) =
                (Strided::new(a.as_ptr(), k as isize, 1), Strided::new(b.as_ptr(), 1, n as isize));
            gemm::<f32>(m, n, k, &a, &b, c.as_mut_ptr(), n, false, None, Threads::One);
        }
        for (i, x) in c.iter().enumerate() {
            assert_eq!(x.is_nan(), i % n == 3);
            assert!(x.is_nan() || *x == f32::INFINITY);
        }
    }
}

/// All halves become the same numbers as by the reference conversion.
#[test]
fn every_half() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let mut out = vec![0.0f32; halves.len()];
    // SAFETY: a line of all halves.
    let source = unsafe { Strided::new(halves.as_ptr(), 1, 0) };
    Source::<f32>::pack(&source, 0..halves.len(), 0..1, 32, &mut out);
    for (half, x) in halves.iter().zip(&out) {
        assert!(x.to_bits() == half.to_f32().to_bits() || half.is_nan() && x.is_nan());
    }
}

/// Panels are laid out as documented, for any width, and nothing else is written.
#[test]
fn panels() {
    let mut random = Random(4);
    for _ in 0..500 {
        let (lines, depth) = (1 + random.below(50), 1 + random.below(40));
        let layout = random.pick(&LAYOUTS);
        let operand = Operand::<f32>::new(&mut random, lines, depth, layout);
        let (from, first) = (random.below(lines), random.below(depth));
        let (some, steps) = (from..lines, first..depth);
        let width = 1 + random.below(32);
        let mut out = vec![f32::NAN; some.len().next_multiple_of(width) * steps.len()];
        operand.source().pack(some.clone(), steps.clone(), width, &mut out);
        for (i, &x) in out.iter().enumerate() {
            let (row, lane) = (i / width, i % width);
            let (line, k) = (from + row / steps.len() * width + lane, first + row % steps.len());
            let expected = if line < lines { operand.at(line, k) } else { 0.0 };
            assert_eq!(x as f64, expected, "{layout} {lines} {depth} {width} at {i}");
        }
    }
}
