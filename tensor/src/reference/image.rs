//! Windows over images: convolution and pooling.

use super::{Array, indices};
use crate::op::{AvgPool2d, Conv2dOptions, Pool2dOptions};

/// Every multiplication of a convolution: the indices into output, input and weight.
pub(super) fn taps<'a>(
    options: &'a Conv2dOptions,
    x: &'a [usize],
    w: &'a [usize],
    y: &'a [usize],
) -> impl Iterator<Item = (Vec<usize>, Vec<usize>, Vec<usize>)> + 'a {
    let per_group = y[1] / options.groups;
    indices(y).flat_map(move |i| {
        let group = i[1] / per_group.max(1);
        indices(&w[1..]).filter_map(move |k| {
            let axis = |a: usize| {
                let at = i[2 + a] * options.stride[a] + k[1 + a] * options.dilation[a];
                at.checked_sub(options.padding[a]).filter(|&at| at < x[2 + a])
            };
            let input = vec![i[0], group * w[1] + k[0], axis(0)?, axis(1)?];
            Some((i.clone(), input, vec![i[1], k[0], k[1], k[2]]))
        })
    })
}

/// The pixels of the window of `i`.
fn window(options: &Pool2dOptions, size: &[usize], i: &[usize]) -> Vec<[usize; 2]> {
    let inside = |axis: usize, tap: usize| {
        let at = i[2 + axis] * options.stride[axis] + tap * options.dilation[axis];
        at.checked_sub(options.padding[axis]).filter(|&at| at < size[2 + axis])
    };
    indices(&options.kernel)
        .filter_map(|tap| Some([inside(0, tap[0])?, inside(1, tap[1])?]))
        .collect()
}

pub(super) fn max_pool(options: &Pool2dOptions, x: &Array, shape: &[usize]) -> Vec<Array> {
    let (mut y, mut index) = (Array::zeros(shape), Array::zeros(shape));
    for i in indices(shape) {
        let mut best: Option<(f64, usize)> = None;
        for [row, column] in window(options, &x.shape, &i) {
            let value = x.at(&[i[0], i[1], row, column]);
            if best.is_none_or(|(best, _)| !best.is_nan() && (value > best || value.is_nan())) {
                best = Some((value, row * x.shape[3] + column));
            }
        }
        let (value, at) = best.expect("padding is at most half the window");
        *y.at_mut(&i) = value;
        *index.at_mut(&i) = at as f64;
    }
    vec![y, index]
}

/// Every addition of average pooling: the indices into output and input, and the share.
pub(super) fn shares<'a>(
    pool: &'a AvgPool2d,
    x: &'a [usize],
    y: &'a [usize],
) -> impl Iterator<Item = (Vec<usize>, Vec<usize>, f64)> + 'a {
    let options = &pool.options;
    indices(y).flat_map(move |i| {
        let pixels = window(options, x, &i);
        let count = if pool.count_include_pad {
            let extent = |a: usize| {
                let room = x[2 + a] + 2 * options.padding[a] - i[2 + a] * options.stride[a];
                options.kernel[a].min(room)
            };
            extent(0) * extent(1)
        } else {
            pixels.len()
        };
        pixels.into_iter().map(move |[row, column]| {
            (i.clone(), vec![i[0], i[1], row, column], 1.0 / count as f64)
        })
    })
}
