//! Lists of axes as arguments.

use smallvec::SmallVec;

use crate::shape::AxisIndex;

type Axes = SmallVec<[isize; 8]>;

/// One axis or several, for [`Tensor::movedim`](crate::Tensor::movedim) and
/// [`Tensor::squeeze_dims`](crate::Tensor::squeeze_dims); negative ones count from the end.
pub trait AxesArg {
    /// The axes as signed numbers.
    fn axes(self) -> SmallVec<[isize; 8]>;
}

impl<A: AxisIndex> AxesArg for A {
    fn axes(self) -> Axes {
        std::iter::once(self.signed()).collect()
    }
}

impl<A: AxisIndex> AxesArg for Vec<A> {
    fn axes(self) -> Axes {
        signed(self)
    }
}

impl<A: AxisIndex, const N: usize> AxesArg for [A; N] {
    fn axes(self) -> Axes {
        signed(self)
    }
}

impl<A: AxisIndex + Copy> AxesArg for &Vec<A> {
    fn axes(self) -> Axes {
        signed(self.iter().copied())
    }
}

impl<A: AxisIndex + Copy> AxesArg for &[A] {
    fn axes(self) -> Axes {
        signed(self.iter().copied())
    }
}

// One for each length, of which the one for 0 has a single type: so `&[]` needs no annotation.
impl AxesArg for &[isize; 0] {
    fn axes(self) -> Axes {
        Axes::new()
    }
}

macro_rules! arrays {
    ($($len:literal)*) => {$(
        impl<A: AxisIndex + Copy> AxesArg for &[A; $len] {
            fn axes(self) -> Axes {
                signed(*self)
            }
        }
    )*};
}
arrays!(1 2 3 4 5 6 7 8);

fn signed(axes: impl IntoIterator<Item: AxisIndex>) -> Axes {
    axes.into_iter().map(AxisIndex::signed).collect()
}
