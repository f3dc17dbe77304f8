//! Where the elements of a tensor lie in its buffer. Every view is a new layout of the same bytes.

use crate::shape::{MAX_RANK, Shape};

/// Shape, strides and offset, counted in elements. Element `[i, j, ..]` lies at
/// `offset + i * strides[0] + j * strides[1] + ..`; a stride of zero repeats, a negative one walks
/// backwards.
///
/// Invariant: every index inside of the shape lies inside of the buffer. The functions here keep
/// it; a layout can not be made from strides that come from outside.
#[derive(Clone, Copy, PartialEq)]
pub struct Layout {
    shape: Shape,
    strides: [isize; MAX_RANK],
    offset: usize,
}

/// One axis of a slice: every `step`-th entry from `start`, `len` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisSlice {
    /// The axis that is sliced.
    pub axis: usize,
    /// The first entry taken.
    pub start: usize,
    /// How many entries are taken.
    pub len: usize,
    /// The distance between them, negative to walk backwards, never zero.
    pub step: isize,
}

impl Layout {
    /// Row-major without gaps, from the start of the buffer.
    #[inline]
    pub fn contiguous(shape: Shape) -> Self {
        let mut strides = [0; MAX_RANK];
        let mut stride = 1;
        for axis in (0..shape.rank()).rev() {
            strides[axis] = stride;
            stride *= shape[axis] as isize;
        }
        Self { shape, strides, offset: 0 }
    }

    /// The extents.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of axes.
    #[inline]
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// Elements to skip for one step along each axis.
    #[inline]
    pub fn strides(&self) -> &[isize] {
        &self.strides[..self.shape.rank()]
    }

    /// Where the element of index zero lies.
    #[inline]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Whether the elements lie in row-major order without gaps (the offset may be anything); no
    /// elements always do.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for axis in (0..self.rank()).rev() {
            let extent = self.shape[axis];
            if extent != 1 && self.strides[axis] != expected {
                return self.shape.contains(&0);
            }
            expected *= extent as isize;
        }
        true
    }

    /// Whether both have one shape, and each index leads to the same element.
    pub(crate) fn reaches_as(&self, other: &Self) -> bool {
        let moves = |axis: usize| self.shape[axis] > 1;
        self.shape == other.shape
            && self.offset == other.offset
            && (0..self.rank())
                .filter(|&axis| moves(axis))
                .all(|axis| self.strides[axis] == other.strides[axis])
    }

    /// Axis `i` of the result is axis `axes[i]` of this layout. `axes` is a permutation.
    pub fn permute(&self, axes: &[usize]) -> Self {
        let mut result = *self;
        for (to, &from) in axes.iter().enumerate() {
            result.shape[to] = self.shape[from];
            result.strides[to] = self.strides[from];
        }
        result
    }

    /// The layout that repeats this one to `shape`, if it broadcasts to it.
    #[inline]
    pub fn expand(&self, shape: &Shape) -> Option<Self> {
        if self.shape == *shape {
            return Some(*self);
        }
        let lead = shape.rank().checked_sub(self.rank())?;
        let mut result = Self { shape: *shape, strides: [0; MAX_RANK], offset: self.offset };
        for axis in 0..self.rank() {
            match (self.shape[axis], shape[lead + axis]) {
                (a, b) if a == b => result.strides[lead + axis] = self.strides[axis],
                (1, _) => {}
                _ => return None,
            }
        }
        Some(result)
    }

    /// The part of this layout that `slices` select. Each must lie inside of its axis.
    pub fn slice(&self, slices: &[AxisSlice]) -> Self {
        let mut result = *self;
        for slice in slices {
            // An empty slice may start one past the end: its offset is never read, but must not
            // leave the buffer either.
            if slice.len > 0 {
                let skip = slice.start as isize * self.strides[slice.axis];
                result.offset = (result.offset as isize + skip) as usize;
            }
            result.shape[slice.axis] = slice.len;
            result.strides[slice.axis] = self.strides[slice.axis] * slice.step;
        }
        result
    }

    /// Windows of `size` entries along `axis`, `step` apart: `[.., n, ..]` becomes
    /// `[.., windows, .., size]`.
    pub fn unfold(&self, axis: usize, size: usize, step: usize) -> Self {
        let windows = (self.shape[axis] - size) / step + 1;
        let mut dims: smallvec::SmallVec<[usize; MAX_RANK]> = self.shape.iter().copied().collect();
        dims[axis] = windows;
        dims.push(size);
        let mut result = Self { shape: Shape::new(dims), ..*self };
        result.strides[self.rank()] = self.strides[axis];
        result.strides[axis] *= step as isize;
        result
    }

    /// The elements whose indices along `first` and `second` are equal: both axes are removed and
    /// one of their lesser extent is added at the end.
    pub fn diagonal(&self, first: usize, second: usize) -> Self {
        let extent = self.shape[first].min(self.shape[second]);
        let stride = self.strides[first] + self.strides[second];
        let kept = (0..self.rank()).filter(|&axis| axis != first && axis != second);
        let mut result =
            Self { shape: self.shape.without(0), strides: [0; MAX_RANK], offset: self.offset };
        let mut rank = 0;
        for axis in kept {
            result.shape[rank] = self.shape[axis];
            result.strides[rank] = self.strides[axis];
            rank += 1;
        }
        result.shape[rank] = extent;
        result.strides[rank] = stride;
        result
    }

    /// The layout of complex numbers as that of their parts, along a new last axis of 2.
    pub fn as_real(&self) -> Self {
        let rank = self.rank();
        let mut dims: smallvec::SmallVec<[usize; MAX_RANK]> = self.shape.iter().copied().collect();
        dims.push(2);
        let strides = self.strides.map(|stride| stride * 2);
        let mut result = Self { shape: Shape::new(dims), strides, offset: self.offset * 2 };
        result.strides[rank] = 1;
        result
    }

    /// The layout of pairs of parts as that of complex numbers, if each pair lies as one does.
    pub fn as_complex(&self) -> Option<Self> {
        let last = self.rank().checked_sub(1)?;
        let even = |&stride: &isize| stride % 2 == 0;
        let pairs = self.shape[last] == 2
            && self.strides[last] == 1
            && self.offset.is_multiple_of(2)
            && self.strides[..last].iter().zip(self.shape.iter()).all(|(s, &n)| n == 1 || even(s));
        let halves = self.strides.map(|stride| stride / 2);
        pairs.then(|| Self {
            shape: self.shape.without(last),
            strides: halves,
            offset: self.offset / 2,
        })
    }

    /// This layout read as `shape` of as many elements, if that can be done without a copy.
    pub fn reshape(&self, shape: &Shape) -> Option<Self> {
        debug_assert_eq!(self.shape.num_elements(), shape.num_elements());
        if self.is_contiguous() {
            return Some(Self { offset: self.offset, ..Self::contiguous(*shape) });
        }
        // Walk both shapes from the end. `run` elements of this layout are `stride` apart from
        // each other; new axes are carved out of the run, and when it is used up the next old
        // axis must continue it or start a new one.
        let mut result = Self { shape: *shape, strides: [0; MAX_RANK], offset: self.offset };
        let (mut old, mut run, mut stride) = (self.rank(), 1usize, 1isize);
        for new in (0..shape.rank()).rev() {
            let extent = shape[new];
            if extent == 1 {
                continue;
            }
            if run == 1 {
                (run, stride) = loop {
                    old = old.checked_sub(1)?;
                    if self.shape[old] != 1 {
                        break (self.shape[old], self.strides[old]);
                    }
                };
            }
            while run % extent != 0 {
                old = old.checked_sub(1)?;
                if self.shape[old] != 1 && self.strides[old] != stride * run as isize {
                    return None;
                }
                run *= self.shape[old];
            }
            result.strides[new] = stride;
            stride *= extent as isize;
            run /= extent;
        }
        Some(result)
    }

    /// The same elements in the same order with as few axes as possible: axes of extent 1 are
    /// dropped and neighbours that form one run are merged.
    #[inline]
    pub(crate) fn collapse(&self) -> Self {
        let mut result = Self { shape: Shape::SCALAR, strides: [0; MAX_RANK], offset: self.offset };
        let mut dims = [1usize; MAX_RANK];
        let mut rank = 0;
        for axis in 0..self.rank() {
            let (extent, stride) = (self.shape[axis], self.strides[axis]);
            if extent == 1 {
                continue;
            }
            if rank > 0 && result.strides[rank - 1] == stride * extent as isize {
                dims[rank - 1] *= extent;
                result.strides[rank - 1] = stride;
            } else {
                dims[rank] = extent;
                result.strides[rank] = stride;
                rank += 1;
            }
        }
        result.shape = Shape::new(&dims[..rank]);
        result
    }

    /// Some axes of a layout, with their strides, on their own.
    pub(crate) fn strided(dims: &[usize], strides: &[isize], offset: usize) -> Self {
        let mut layout = Self { shape: Shape::new(dims), strides: [0; MAX_RANK], offset };
        layout.strides[..strides.len()].copy_from_slice(strides);
        layout
    }

    /// The same axes from another offset.
    #[inline]
    pub(crate) fn at(&self, offset: usize) -> Self {
        Self { offset, ..*self }
    }

    /// Where the element of row-major index `linear` lies.
    #[inline]
    pub(crate) fn position(&self, mut linear: usize) -> usize {
        let mut position = self.offset as isize;
        for axis in (0..self.rank()).rev() {
            let extent = self.shape[axis];
            position += (linear % extent) as isize * self.strides[axis];
            linear /= extent;
        }
        position as usize
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} strides {:?} offset {}", self.shape, self.strides(), self.offset)
    }
}
