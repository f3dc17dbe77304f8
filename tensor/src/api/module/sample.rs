//! Images read at places between their pixels.

use super::{GridSampleOptions, GridSamplePaddingMode, InterpolateMode};
use crate::op::{BinaryKind, Meta};
use crate::tensor::Tensor;
use crate::{AnyTensor, DType, Error};

impl Tensor<4> {
    /// The image at the places that `grid` names: `torch.nn.functional.grid_sample` of pictures.
    /// `self` `[n, c, h, w]`, `grid` `[n, oh, ow, 2]` of x (along the width) and y in -1..1. Result:
    /// `[n, c, oh, ow]`.
    #[track_caller]
    pub fn grid_sample_2d(
        &self,
        grid: impl AsRef<Tensor<4>>,
        options: impl Into<GridSampleOptions>,
    ) -> Tensor<4> {
        Tensor::from_any(grid_sample(self.as_any(), grid.as_ref().as_any(), options.into()))
    }
}

impl Tensor<5> {
    /// The volume at the places that `grid` names: `torch.nn.functional.grid_sample` of volumes.
    /// `self` `[n, c, d, h, w]`, `grid` `[n, od, oh, ow, 3]` of x (along the width), y and z in
    /// -1..1. Result: `[n, c, od, oh, ow]`.
    #[track_caller]
    pub fn grid_sample_3d(
        &self,
        grid: impl AsRef<Tensor<5>>,
        options: impl Into<GridSampleOptions>,
    ) -> Tensor<5> {
        Tensor::from_any(grid_sample(self.as_any(), grid.as_ref().as_any(), options.into()))
    }
}

#[track_caller]
fn grid_sample(x: &AnyTensor, grid: &AnyTensor, options: GridSampleOptions) -> AnyTensor {
    let (shape, places) = (x.shape(), grid.shape());
    let (axes, rank) = (shape.rank() - 2, shape.rank());
    let error = |rule: &str| {
        crate::fail(Error::Shape {
            op: "grid_sample",
            shapes: vec![shape, places],
            rule: rule.into(),
        })
    };
    if places[0] != shape[0] || places[rank - 1] != axes {
        error("the grid must be [n, .., axes] for an image [n, c, ..]");
    }
    if shape[2..].contains(&0) {
        error("the image must not be empty");
    }
    let (n, c) = (shape[0], shape[1]);
    let count: usize = places[1..rank - 1].iter().product();
    let image = Image {
        values: x.reshape([n, 1, c, shape[2..].iter().product()]),
        size: shape[2..].to_vec(),
    };
    // The grid names the last axis first.
    let along = |axis: usize| {
        let at = grid.narrow(rank - 1, axes - 1 - axis, 1).reshape([n, 1, count]);
        let size = image.size[axis] as f64;
        if options.align_corners {
            at.add_scalar(1).mul_scalar((size - 1.0) / 2.0)
        } else {
            at.add_scalar(1).mul_scalar(size).sub_scalar(1).mul_scalar(0.5)
        }
    };
    let raw: Vec<AnyTensor> = (0..axes).map(along).collect();
    let settle = |(axis, at): (usize, &AnyTensor)| settle(at, image.size[axis], &options);
    let settled = || raw.iter().enumerate().map(settle).collect::<Vec<_>>();
    let y = match options.mode {
        InterpolateMode::Nearest | InterpolateMode::NearestExact => {
            let nearest: Vec<_> = settled().iter().map(AnyTensor::round).collect();
            image.at(&nearest)
        }
        InterpolateMode::Bilinear => image.linear(&settled()),
        InterpolateMode::Bicubic if axes == 2 => image.cubic(&raw, &options),
        mode => error(&format!("{mode:?} is not a mode for {axes} axes")),
    };
    let mut dims = vec![n, c];
    dims.extend_from_slice(&places[1..rank - 1]);
    y.reshape(dims)
}

/// `at` where `mask` is true, `other` elsewhere.
fn choose(mask: &AnyTensor, at: &AnyTensor, other: &AnyTensor) -> AnyTensor {
    at.select_where(mask, other)
}

/// A place moved into the image as the padding mode says.
fn settle(at: &AnyTensor, size: usize, options: &GridSampleOptions) -> AnyTensor {
    match options.padding_mode {
        GridSamplePaddingMode::Zeros => at.clone(),
        GridSamplePaddingMode::Border => clip(at, size),
        GridSamplePaddingMode::Reflection => {
            let last = (size - 1) as f64;
            let (low, span) = if options.align_corners { (0.0, last) } else { (-0.5, last + 1.0) };
            if span == 0.0 {
                return at.mul_scalar(0);
            }
            // How far from the lower mirror, and how often mirrored.
            let distance = at.sub_scalar(low).abs();
            let flips = distance.detach().div_scalar(span).floor();
            let extra = distance.sub(&flips.mul_scalar(span));
            let even = flips.remainder_scalar(2).equal_scalar(0);
            let mirrored = extra.neg().add_scalar(span);
            clip(&choose(&even, &extra, &mirrored).add_scalar(low), size)
        }
    }
}

/// Clamped into the image; a place on the border has no slope, as in PyTorch.
fn clip(at: &AnyTensor, size: usize) -> AnyTensor {
    let last = (size - 1) as f64;
    let fixed = at.detach().maximum_scalar(0.0).minimum_scalar(last);
    let inside =
        at.greater_scalar(0.0).binary(BinaryKind::And, &at.binary_scalar(BinaryKind::Less, last));
    choose(&inside, at, &fixed)
}

/// Images whose channels come in groups that are read at places of their own.
pub(super) struct Image {
    /// `[n, groups, channels, pixels]`
    pub values: AnyTensor,
    /// The extents behind `pixels`.
    pub size: Vec<usize>,
}

impl Image {
    /// The pixels at whole numbers `at`, one `[n, groups, places]` for each axis; zero outside.
    /// Result: `[n, groups, channels, places]`.
    #[track_caller]
    fn at(&self, at: &[AnyTensor]) -> AnyTensor {
        let (values, shape) = (&self.values, at[0].shape());
        let [n, groups, channels, _] = values.shape().dims();
        let places = shape[2];
        let mut index: Option<AnyTensor> = None;
        let mut inside: Option<AnyTensor> = None;
        for (at, &extent) in at.iter().zip(&self.size) {
            let last = (extent - 1) as f64;
            let at = at.detach();
            let fits = at
                .binary_scalar(BinaryKind::GreaterEqual, 0.0)
                .binary(BinaryKind::And, &at.lower_equal_scalar(last));
            // NaN is nowhere.
            let zero = AnyTensor::full(Meta::new([], at.dtype()), 0, at.device());
            let whole = choose(&fits, &at, &zero).cast(DType::I64);
            index = Some(match index {
                Some(index) => index.mul_scalar(extent as i64).add(&whole),
                None => whole,
            });
            inside = Some(match inside {
                Some(inside) => inside.binary(BinaryKind::And, &fits),
                None => fits,
            });
        }
        let each = |x: Option<AnyTensor>| {
            let x = x.expect("an axis").reshape([n, groups, 1, places]);
            x.expand([n, groups, channels, places])
        };
        let picked = values.gather(3, &each(index));
        let zero = AnyTensor::full(Meta::new([], values.dtype()), 0, values.device());
        choose(&each(inside), &picked, &zero)
    }

    /// The sum of the pixels around each place, with the product of `weights` along each axis:
    /// pairs of a step from the whole number below and the weight of that pixel.
    #[track_caller]
    fn sum(
        &self,
        floors: &[AnyTensor],
        weights: &[Vec<(f64, AnyTensor)>],
        settle: impl Fn(usize, AnyTensor) -> AnyTensor,
    ) -> AnyTensor {
        let [n, groups, places] = floors[0].shape().dims();
        let corners: usize = weights.iter().map(Vec::len).product();
        let mut total: Option<AnyTensor> = None;
        for mut corner in 0..corners {
            let (mut at, mut weight) = (Vec::new(), None::<AnyTensor>);
            for (axis, (floor, weights)) in floors.iter().zip(weights).enumerate() {
                let (step, factor) = &weights[corner % weights.len()];
                corner /= weights.len();
                at.push(settle(axis, floor.add_scalar(*step)));
                weight = Some(weight.map_or_else(|| factor.clone(), |weight| weight.mul(factor)));
            }
            let weight = weight.expect("an axis").reshape([n, groups, 1, places]);
            let term = self.at(&at).mul(&weight);
            total = Some(total.map_or_else(|| term.clone(), |total| total.add(&term)));
        }
        total.expect("a corner")
    }

    /// Straight lines between pixels, zeros outside.
    #[track_caller]
    pub fn linear(&self, at: &[AnyTensor]) -> AnyTensor {
        let floors: Vec<_> = at.iter().map(|at| at.detach().floor()).collect();
        let weights = |(at, floor): (&AnyTensor, &AnyTensor)| {
            let upper = at.sub(floor);
            vec![(0.0, upper.neg().add_scalar(1)), (1.0, upper)]
        };
        let weights: Vec<_> = at.iter().zip(&floors).map(weights).collect();
        self.sum(&floors, &weights, |_, at| at)
    }

    /// Cubics through four pixels along each axis; each pixel outside is replaced by the padding.
    #[track_caller]
    fn cubic(&self, at: &[AnyTensor], options: &GridSampleOptions) -> AnyTensor {
        const A: f64 = -0.75;
        let floors: Vec<_> = at.iter().map(|at| at.detach().floor()).collect();
        let weights = |(at, floor): (&AnyTensor, &AnyTensor)| {
            let t = at.sub(floor);
            // The cubic of Keys (1981) within one pixel, and from one to two.
            let near = |x: &AnyTensor| {
                x.mul_scalar(A + 2.0).sub_scalar(A + 3.0).mul(&x.square()).add_scalar(1)
            };
            let far = |x: &AnyTensor| {
                let inner = x.mul_scalar(A).sub_scalar(5.0 * A).mul(x).add_scalar(8.0 * A);
                inner.mul(x).sub_scalar(4.0 * A)
            };
            let rest = t.neg().add_scalar(1);
            vec![
                (-1.0, far(&t.add_scalar(1))),
                (0.0, near(&t)),
                (1.0, near(&rest)),
                (2.0, far(&rest.add_scalar(1))),
            ]
        };
        let weights: Vec<_> = at.iter().zip(&floors).map(weights).collect();
        self.sum(&floors, &weights, |axis, at| settle(&at, self.size[axis], options))
    }
}
