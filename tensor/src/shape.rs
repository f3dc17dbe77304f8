//! The extent of a tensor along each axis.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::error::{Error, OrFail, Result};

/// The most axes a tensor can have. Shapes and strides are stored inline and copied freely, which
/// is what makes a small operation cheap; eight covers images, video, batched attention and
/// their blocked forms.
pub const MAX_RANK: usize = 8;

/// The extent of a tensor along each axis, at most [`MAX_RANK`] of them. Dereferences to a slice.
///
/// The number of elements always fits in `isize`: a shape that overflows can not be made.
#[derive(Clone, Copy, Eq)]
pub struct Shape {
    rank: u8,
    // Axes past the rank hold 1 and mean nothing.
    dims: [usize; MAX_RANK],
}

impl Shape {
    /// The shape of a single number: no axes.
    pub const SCALAR: Shape = Shape { rank: 0, dims: [1; MAX_RANK] };

    /// A shape from its extents. Panics if there are more than [`MAX_RANK`] of them or if the
    /// number of elements overflows; [`Shape::try_new`] returns these as errors.
    #[track_caller]
    pub fn new(dims: impl AsRef<[usize]>) -> Self {
        Self::try_new(dims.as_ref()).or_fail()
    }

    /// A shape from extents that come from outside of the program.
    #[inline]
    pub fn try_new(dims: &[usize]) -> Result<Self> {
        const OP: &str = "shape";
        if dims.len() > MAX_RANK {
            let rule = format!("a tensor has at most {MAX_RANK} axes, {dims:?} has {}", dims.len());
            return Err(Error::Argument { op: OP, rule });
        }
        // Zero extents are left out, so that [0, huge] is refused like [1, huge].
        let elements = dims
            .iter()
            .filter(|&&n| n != 0)
            .try_fold(1usize, |product, &n| product.checked_mul(n))
            .filter(|&n| n <= isize::MAX as usize / 8);
        if elements.is_none() {
            let rule = format!("{dims:?} has more elements than memory can hold");
            return Err(Error::Argument { op: OP, rule });
        }
        let mut shape = Self::SCALAR;
        shape.rank = dims.len() as u8;
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The extents.
    #[inline]
    pub fn as_slice(&self) -> &[usize] {
        self
    }

    /// The number of axes.
    #[inline]
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The number of axes.
    #[inline]
    pub fn num_dims(&self) -> usize {
        self.rank()
    }

    /// The number of elements.
    #[inline]
    pub fn num_elements(&self) -> usize {
        self.iter().product()
    }

    /// The extents as an array. Panics if the rank is not `D`.
    #[track_caller]
    pub fn dims<const D: usize>(&self) -> [usize; D] {
        match <[usize; D]>::try_from(&self[..]) {
            Ok(dims) => dims,
            Err(_) => crate::fail(Error::Shape {
                op: "dims",
                shapes: vec![*self],
                rule: format!("expected rank {D}, found rank {}", self.rank()),
            }),
        }
    }

    /// The same shape with the extent of `axis` replaced.
    #[inline]
    pub fn with(mut self, axis: usize, extent: usize) -> Self {
        self[axis] = extent;
        self
    }

    /// The same shape without `axis`.
    pub fn without(&self, axis: usize) -> Self {
        let mut shape = *self;
        shape.dims.copy_within(axis + 1.., axis);
        shape.dims[MAX_RANK - 1] = 1;
        shape.rank -= 1;
        shape
    }

    /// The same shape with a new axis before `axis`.
    pub(crate) fn inserted(&self, axis: usize, extent: usize) -> Result<Self> {
        let mut dims: smallvec::SmallVec<[usize; MAX_RANK + 1]> = self.iter().copied().collect();
        dims.insert(axis, extent);
        Self::try_new(&dims)
    }

    /// The shape that both broadcast to: aligned at the last axis, equal extents or one of them 1.
    #[inline]
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        if self == other {
            return Some(*self);
        }
        let (long, short) = if self.rank >= other.rank { (self, other) } else { (other, self) };
        let mut shape = *long;
        let lead = long.rank() - short.rank();
        for (extent, &n) in shape[lead..].iter_mut().zip(short.iter()) {
            match (*extent, n) {
                (a, b) if a == b => {}
                (1, b) => *extent = b,
                (_, 1) => {}
                _ => return None,
            }
        }
        Self::try_new(&shape).ok()
    }
}

impl PartialEq for Shape {
    /// A loop over a few axes is quicker than a call that compares all the bytes.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank && self.iter().zip(other.iter()).all(|(a, b)| a == b)
    }
}

impl std::hash::Hash for Shape {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Deref for Shape {
    type Target = [usize];
    #[inline]
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }
}

impl DerefMut for Shape {
    #[inline]
    fn deref_mut(&mut self) -> &mut [usize] {
        &mut self.dims[..self.rank as usize]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    #[inline]
    #[track_caller]
    fn from(dims: [usize; N]) -> Self {
        Self::new(dims)
    }
}

impl From<&[usize]> for Shape {
    #[track_caller]
    fn from(dims: &[usize]) -> Self {
        Self::new(dims)
    }
}

impl From<Vec<usize>> for Shape {
    #[track_caller]
    fn from(dims: Vec<usize>) -> Self {
        Self::new(dims)
    }
}

impl<const N: usize> From<&[usize; N]> for Shape {
    #[track_caller]
    fn from(dims: &[usize; N]) -> Self {
        Self::new(dims)
    }
}

impl From<&Vec<usize>> for Shape {
    #[track_caller]
    fn from(dims: &Vec<usize>) -> Self {
        Self::new(dims)
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        *shape
    }
}

/// An axis given by the user: negative ones count from the end.
pub trait AxisIndex {
    /// The axis as a signed number.
    fn signed(self) -> isize;
}

macro_rules! axis_index {
    ($($type:ty)*) => {$(
        impl AxisIndex for $type {
            #[inline]
            fn signed(self) -> isize {
                self as isize
            }
        }
    )*};
}
axis_index!(i8 i16 i32 i64 isize u8 u16 u32);

impl AxisIndex for usize {
    #[inline]
    fn signed(self) -> isize {
        isize::try_from(self).unwrap_or(isize::MAX)
    }
}

impl AxisIndex for u64 {
    #[inline]
    fn signed(self) -> isize {
        isize::try_from(self).unwrap_or(isize::MAX)
    }
}

/// The axis `axis` of a tensor of `rank` axes.
#[inline]
pub fn resolve_axis(op: &'static str, axis: impl AxisIndex, rank: usize) -> Result<usize> {
    let axis = axis.signed();
    let index = if axis < 0 { axis.saturating_add_unsigned(rank) } else { axis };
    if (0..rank as isize).contains(&index) {
        Ok(index as usize)
    } else {
        Err(Error::Axis { op, axis, rank })
    }
}
