//! Arrays of arrays of numbers.

use half::{bf16, f16};
use num_complex::Complex;

use crate::Element;

/// A number, or an array of these: what [`TensorData`](crate::TensorData) is made of.
pub trait Nested {
    /// The number at the bottom.
    type Element: Element;
    /// The extents, outermost first.
    fn dims(dims: &mut Vec<usize>);
    /// The numbers in row-major order.
    fn flatten(&self, values: &mut Vec<Self::Element>);
}

macro_rules! nested_numbers {
    ($($type:ty)*) => {$(
        impl Nested for $type {
            type Element = $type;
            fn dims(_: &mut Vec<usize>) {}
            fn flatten(&self, values: &mut Vec<$type>) {
                values.push(*self);
            }
        }
    )*};
}
nested_numbers!(f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 bool Complex<f32> Complex<f64>);

/// Sizes and indices become `i64`.
impl Nested for usize {
    type Element = i64;
    fn dims(_: &mut Vec<usize>) {}
    fn flatten(&self, values: &mut Vec<i64>) {
        values.push(*self as i64);
    }
}

impl<T: Nested, const N: usize> Nested for [T; N] {
    type Element = T::Element;
    fn dims(dims: &mut Vec<usize>) {
        dims.push(N);
        T::dims(dims);
    }
    fn flatten(&self, values: &mut Vec<T::Element>) {
        self.iter().for_each(|item| item.flatten(values));
    }
}
