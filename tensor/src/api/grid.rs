//! Coordinates of the points of a grid.

use crate::error::OrFail;
use crate::tensor::{Kind, Tensor};
use crate::{Error, Shape};

/// Which axis of a grid belongs to which vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridIndexing {
    /// Axis `i` to vector `i`: "ij" in PyTorch.
    #[default]
    Matrix,
    /// The first two exchanged: "xy" in PyTorch.
    Cartesian,
}

/// Whether coordinates are repeated over the whole grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridSparsity {
    /// Repeated (as views: no byte moves).
    #[default]
    Dense,
    /// Extent 1 along every axis but their own; they broadcast to the grid.
    Sparse,
}

/// What [`meshgrid`] makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GridOptions {
    /// Which axis belongs to which vector.
    pub indexing: GridIndexing,
    /// Whether coordinates are repeated.
    pub sparsity: GridSparsity,
}

impl GridOptions {
    /// Both options.
    pub fn new(indexing: GridIndexing, sparsity: GridSparsity) -> Self {
        Self { indexing, sparsity }
    }
}

impl From<GridIndexing> for GridOptions {
    fn from(indexing: GridIndexing) -> Self {
        Self { indexing, ..Self::default() }
    }
}

impl From<GridSparsity> for GridOptions {
    fn from(sparsity: GridSparsity) -> Self {
        Self { sparsity, ..Self::default() }
    }
}

/// Where [`meshgrid_stack`] puts the axis of the coordinates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexPos {
    /// In front.
    #[default]
    First,
    /// At the end.
    Last,
}

/// The coordinates of the points of a grid, one tensor for each of its axes: element `[i, j, ..]` of
/// the first is `tensors[0][i]`, of the second `tensors[1][j]`. `torch.meshgrid`.
///
/// ```
/// use kiln_tensor::{Int, Tensor, grid::{GridOptions, meshgrid}};
/// let [y, x] = meshgrid(
///     &[Tensor::<1, Int>::from([1, 2]), Tensor::<1, Int>::from([3, 4])],
///     GridOptions::default(),
/// );
/// assert_eq!(y.into_data().to_vec::<i64>()?, [1, 1, 2, 2]);
/// assert_eq!(x.into_data().to_vec::<i64>()?, [3, 4, 3, 4]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn meshgrid<const N: usize, K: Kind>(
    tensors: &[Tensor<1, K>; N],
    options: impl Into<GridOptions>,
) -> [Tensor<N, K>; N] {
    let options = options.into();
    let dims: [usize; N] = std::array::from_fn(|axis| tensors[axis].num_elements());
    let grid = Shape::new(dims);
    std::array::from_fn(|axis| {
        let own = Shape::new([1; N]).with(axis, dims[axis]);
        let mut coordinates = tensors[axis].as_any().reshape(own);
        if options.sparsity == GridSparsity::Dense {
            coordinates = coordinates.expand(grid);
        }
        if options.indexing == GridIndexing::Cartesian && N > 1 {
            coordinates = coordinates.swap_axes(0, 1);
        }
        Tensor::from_any(coordinates)
    })
}

/// The coordinates of [`meshgrid`] in one tensor, along a new axis. `D2` is `D + 1`.
#[track_caller]
pub fn meshgrid_stack<const D: usize, const D2: usize, K: Kind>(
    tensors: &[Tensor<1, K>; D],
    position: IndexPos,
) -> Tensor<D2, K> {
    let axis = match position {
        IndexPos::First => 0,
        IndexPos::Last => D,
    };
    Tensor::stack(meshgrid(tensors, GridOptions::default()), axis)
}

/// Where `transform` `[batch, 2, 3]` takes the points of an image of shape
/// `[batch, channels, height, width]`, whose corners are -1 and 1: `[batch, height, width, 2]` with
/// `(x, y)` along the last axis. `torch.nn.functional.affine_grid` with `align_corners`.
#[track_caller]
pub fn affine_grid_2d(transform: impl AsRef<Tensor<3>>, dims: [usize; 4]) -> Tensor<4> {
    const OP: &str = "affine_grid_2d";
    let (transform, [batch, _, height, width]) = (transform.as_ref(), dims);
    if transform.dims() != [batch, 2, 3] {
        let shapes = vec![transform.shape(), Shape::new(dims)];
        let rule = "one 2 by 3 matrix is needed for each image".into();
        crate::fail(Error::Shape { op: OP, shapes, rule });
    }
    let points = Shape::try_new(&[height, width]).or_fail();
    let options = (&transform.device(), transform.dtype());
    // A single point lies in the middle, as in PyTorch.
    let line = |n: usize| match n {
        1 => Tensor::<1>::zeros([1], options),
        n => Tensor::<1>::linspace(-1.0, 1.0, n, options),
    };
    let x = line(width).reshape([1, width]).expand::<2, _>(points);
    let y = line(height).reshape([height, 1]).expand::<2, _>(points);
    let points = Tensor::stack::<3>([x.clone(), y, x.ones_like()], 2);
    // [points, 3] times [batch, 3, 2].
    let points = points.reshape([1, height * width, 3]).expand([batch, height * width, 3]);
    points.matmul(transform.transpose()).reshape([batch, height, width, 2])
}
