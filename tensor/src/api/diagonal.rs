//! Triangles and diagonals of matrices.

use smallvec::SmallVec;

use crate::error::OrFail;
use crate::op::View;
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Bool, Int, Kind, Numeric, Options, Tensor};
use crate::{AxisSlice, Error, Shape};

impl<const D: usize> Tensor<D, Bool> {
    /// False in the upper triangles of the last two axes, true elsewhere: what
    /// [`Tensor::mask_fill`] has to clear to leave them. The diagonal `offset` places above the
    /// main one belongs to them.
    ///
    /// ```
    /// use kiln_tensor::{Bool, Device, Tensor};
    /// let mask = Tensor::<2, Bool>::triu_mask([2, 2], 0, &Device::cpu());
    /// assert_eq!(mask.into_data().to_vec::<bool>()?, [false, false, true, false]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn triu_mask(shape: impl Into<Shape>, offset: i64, options: impl Into<Options>) -> Self {
        Self::triangle_mask(shape.into(), offset, options.into(), |row, column| row.greater(column))
    }

    /// As [`Tensor::triu_mask`] for the lower triangles.
    #[track_caller]
    pub fn tril_mask(shape: impl Into<Shape>, offset: i64, options: impl Into<Options>) -> Self {
        Self::triangle_mask(shape.into(), offset, options.into(), |row, column| row.lower(column))
    }

    /// As [`Tensor::triu_mask`] for the diagonal alone.
    #[track_caller]
    pub fn diag_mask(shape: impl Into<Shape>, offset: i64, options: impl Into<Options>) -> Self {
        Self::triangle_mask(shape.into(), offset, options.into(), |row, column| {
            row.not_equal(column)
        })
    }

    /// `compare(row, column - offset)` for each element.
    #[track_caller]
    fn triangle_mask(
        shape: Shape,
        offset: i64,
        options: Options,
        compare: impl Fn(&Tensor<2, Int>, Tensor<2, Int>) -> Tensor<2, Bool>,
    ) -> Self {
        let [rows, columns] = matrix("triangle_mask", &shape);
        let row = Tensor::<1, Int>::arange(0..rows as i64, &options.device);
        // A diagonal further away than all elements is as good as any that far.
        let offset = offset.clamp(-(rows as i64), columns as i64);
        let column = Tensor::<1, Int>::arange(-offset..columns as i64 - offset, &options.device);
        let mask = compare(&row.reshape([rows, 1]), column.reshape([1, columns]));
        Self::from_any(mask.as_any().expand(shape))
    }
}

/// The last two extents.
#[track_caller]
fn matrix(op: &'static str, shape: &Shape) -> [usize; 2] {
    match shape.last_chunk() {
        Some(&extents) => extents,
        None => {
            let rule = "a matrix has at least two axes".into();
            crate::fail(Error::Shape { op, shapes: vec![*shape], rule })
        }
    }
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    /// The upper triangles of the last two axes, from the diagonal `diagonal` places above the main
    /// one on, with zeros below: `torch.triu`.
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Self {
        self.mask_fill(self.triangle(diagonal, Tensor::triu_mask), 0)
    }

    /// The lower triangles of the last two axes, up to the diagonal `diagonal` places above the main
    /// one, with zeros beyond: `torch.tril`.
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Self {
        self.mask_fill(self.triangle(diagonal, Tensor::tril_mask), 0)
    }

    /// A mask for each matrix of the tensor alike.
    #[track_caller]
    fn triangle(
        &self,
        diagonal: i64,
        mask: impl Fn(Shape, i64, Options) -> Tensor<2, Bool>,
    ) -> Tensor<D, Bool> {
        let [rows, columns] = matrix("triangle", &self.shape());
        mask(Shape::new([rows, columns]), diagonal, (&self.device()).into()).unsqueeze()
    }

    /// Each vector of the last axis as the diagonal of a matrix, `offset` places above the main one,
    /// with zeros elsewhere; its rows and columns become axes `first` and `second` of the result:
    /// `torch.diag_embed`, whose defaults are `(0, -2, -1)`.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x: Tensor<2> = Tensor::<1>::from([1.0, 2.0]).diag_embed(1, -2, -1);
    /// let rows = [0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0];
    /// assert_eq!(x.into_data().to_vec::<f32>()?, rows);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn diag_embed<const D2: usize>(
        &self,
        offset: i64,
        first: impl AxisIndex,
        second: impl AxisIndex,
    ) -> Tensor<D2, K> {
        let axis = |axis: isize| resolve_axis("diag_embed", axis, D + 1).or_fail();
        let (first, second) = (axis(first.signed()), axis(second.signed()));
        if D == 0 || first == second {
            let rule = "a vector and two different axes are needed".into();
            crate::fail(Error::Shape { op: "diag_embed", shapes: vec![self.shape()], rule });
        }
        let shape = self.shape();
        let square = shape.inserted(D, shape[D - 1]).or_fail();
        let matrices = self.as_any().unview(View::Diagonal(D - 1, D), square);
        // Columns in front of an upper diagonal and rows below it, and the other way round.
        let far = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
        let mut pads = vec![(0, 0); D + 1];
        (pads[D - 1], pads[D]) =
            if offset < 0 { ((far, 0), (0, far)) } else { ((0, far), (far, 0)) };
        let matrices = matrices.pad_constant(&pads, 0.into());
        Tensor::<D2, K>::from_any(matrices).movedim([D - 1, D], [first, second])
    }
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// The elements whose index along `second` is `offset` larger than along `first`, as a new last
    /// axis in the place of both: `torch.diagonal`, whose defaults are `(0, 0, 1)`. No byte moves.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<2>::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// assert_eq!(x.diagonal::<1>(1, 0, 1).into_data().to_vec::<f32>()?, [2.0, 6.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn diagonal<const D2: usize>(
        &self,
        offset: i64,
        first: impl AxisIndex,
        second: impl AxisIndex,
    ) -> Tensor<D2, K> {
        let first = resolve_axis("diagonal", first, D).or_fail();
        let second = resolve_axis("diagonal", second, D).or_fail();
        let axis = if offset < 0 { first } else { second };
        let (extent, skip) = (self.shape()[axis], offset.unsigned_abs());
        let start = usize::try_from(skip).unwrap_or(usize::MAX).min(extent);
        let rest = AxisSlice { axis, start, len: extent - start, step: 1 };
        let rest = self.as_any().apply(View::Slice(SmallVec::from_buf([rest])), &[]);
        Tensor::from_any(rest.apply(View::Diagonal(first, second), &[]))
    }
}
