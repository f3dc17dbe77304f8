//! Fourier transforms of any length: a pass for each factor.

use kiln_tensor::op::{Fft, FftForm};
use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result};

use super::elementwise::{COMPLEX, number_type};
use super::rows::Rows;
use crate::backend::Kernels;
use crate::geometry::threads_for;
use crate::params::{Operand, Params, address};
use crate::program::{FFT, Program};

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    lines: i64,
    n: i64,
    factor: i64,
    done: i64,
    left: i64,
    dims: [i64; MAX_RANK],
    input: Operand,
    output_strides: [i64; MAX_RANK],
    output: u64,
    input_stride: i64,
    output_stride: i64,
    kept: i64,
    sign: f64,
    scale: f64,
    rank: i64,
}

// SAFETY: the fields are numbers of eight bytes.
unsafe impl Params for Parameters {}

/// Where the numbers of a pass come from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum From {
    Complex,
    Real,
    /// The first half of the spectrum of real numbers.
    Half,
    /// The pass before.
    Work,
}

/// Where the numbers of a pass go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum To {
    Complex,
    Real,
    /// The next pass.
    Work,
}

/// A pass for results of the precision of `dtype`, a complex one.
fn program(from: From, to: To, dtype: DType) -> Program {
    let (source, x) = match from {
        From::Complex => ("complex", dtype),
        From::Real => ("real", dtype.real()),
        From::Half => ("half", dtype),
        From::Work => ("work", DType::Complex128),
    };
    let (target, y) = match to {
        To::Complex => ("complex", dtype),
        To::Real => ("real", dtype.real()),
        To::Work => ("work", DType::Complex128),
    };
    let mut definitions =
        vec![("X", number_type(x).to_string()), ("Y", number_type(y).to_string())];
    definitions.extend((from == From::Half).then(|| ("HERMITIAN", String::new())));
    definitions.extend((to == To::Real).then(|| ("REAL", String::new())));
    Program::new(&FFT, format!("fft_{source}_{target}_{dtype}"), definitions)
}

/// The factors of a length, of which fours count as one: at least one factor.
fn factors(mut n: usize) -> Vec<usize> {
    let mut factors = Vec::new();
    let mut factor = 4;
    while n > 1 {
        while n.is_multiple_of(factor) {
            factors.push(factor);
            n /= factor;
        }
        factor = match factor {
            4 => 2,
            2 => 3,
            _ if factor * factor > n => n,
            _ => factor + 2,
        };
    }
    if factors.is_empty() {
        factors.push(1);
    }
    factors
}

pub(super) fn fft(kernels: &Kernels, op: &Fft, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    if y.num_elements() == 0 {
        return Ok(());
    }
    let rows = Rows::new(op.axis, [x, y]);
    let (n, lines) = (op.len(rows.n), rows.count);
    let (first, last) = match op.form {
        FftForm::Complex { .. } => (From::Complex, To::Complex),
        FftForm::FromReal => (From::Real, To::Complex),
        FftForm::ToReal { .. } => (From::Half, To::Real),
    };
    let forward = matches!(op.form, FftForm::Complex { inverse: false } | FftForm::FromReal);
    let factors = factors(n);
    // Two places that the passes take turns with: [lines, n] of complex128.
    let bytes = 16 * lines * n;
    let work = (1..factors.len().min(3)).map(|_| kernels.workspace(bytes));
    let work = work.collect::<Result<Vec<_>>>()?;
    let mut done = 1;
    for (pass, &factor) in factors.iter().enumerate() {
        let place = |pass: usize| work[pass % work.len()].address();
        let from = if pass == 0 { first } else { From::Work };
        let to = if pass + 1 == factors.len() { last } else { To::Work };
        let params = Parameters {
            lines: lines as i64,
            n: n as i64,
            factor: factor as i64,
            done: done as i64,
            left: (n / done) as i64,
            dims: rows.walk.dims,
            input: rows.operand(0, x),
            output_strides: rows.walk.strides[1],
            output: address(y),
            input_stride: rows.along[0],
            output_stride: rows.along[1],
            kept: y.shape()[op.axis] as i64,
            sign: if forward { -1.0 } else { 1.0 },
            scale: op.scale,
            rank: rows.walk.rank as i64,
        };
        let dense = dense_strides(&rows.walk.dims[..rows.walk.rank], n);
        let params = match from {
            From::Work => Parameters {
                input: Operand { data: place(pass - 1), strides: dense },
                input_stride: 1,
                ..params
            },
            _ => params,
        };
        let params = match to {
            To::Work => Parameters {
                output_strides: dense,
                output: place(pass),
                output_stride: 1,
                kept: n as i64,
                scale: 1.0,
                ..params
            },
            _ => params,
        };
        let program = program(from, to, y.dtype().complex());
        // SAFETY: the parameters are those of the family; lines stay inside of the input, the work
        // has room for all numbers, and the output for those that are kept.
        unsafe { kernels.launch(&program, threads_for(lines * n), &params)? };
        done *= factor;
    }
    Ok(())
}

/// The strides of lines of `n` numbers that lie one after another.
fn dense_strides(dims: &[i64], n: usize) -> [i64; MAX_RANK] {
    let mut strides = [0; MAX_RANK];
    let mut step = n as i64;
    for (stride, extent) in strides.iter_mut().zip(dims).rev() {
        *stride = step;
        step *= extent;
    }
    strides
}

pub(super) fn programs() -> Vec<Program> {
    let passes = [
        (From::Complex, To::Complex),
        (From::Complex, To::Work),
        (From::Real, To::Complex),
        (From::Real, To::Work),
        (From::Half, To::Real),
        (From::Half, To::Work),
        (From::Work, To::Work),
        (From::Work, To::Complex),
        (From::Work, To::Real),
    ];
    let each = |dtype| passes.map(|(from, to)| program(from, to, dtype));
    COMPLEX.into_iter().flat_map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_multiply_to_the_length() {
        assert_eq!(factors(1), [1]);
        assert_eq!(factors(8), [4, 2]);
        assert_eq!(factors(202), [2, 101]);
        assert_eq!(factors(243), [3; 5]);
        for n in 1..2000 {
            let factors = factors(n);
            assert_eq!(factors.iter().product::<usize>(), n);
            let prime = |f: usize| (2..f).take_while(|d| d * d <= f).all(|d| !f.is_multiple_of(d));
            assert!(factors.iter().all(|&f| f == 4 || prime(f)), "{n}: {factors:?}");
        }
    }
}
