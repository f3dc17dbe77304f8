//! Numbers of any type as elements of any other.

use crate::{Element, Scalar};

/// Converts a number to an element type, as Rust's `as` does.
///
/// ```
/// use kiln_tensor::ElementConversion;
/// assert_eq!(3.elem::<f32>(), 3.0);
/// assert_eq!(2.9.elem::<i64>(), 2);
/// ```
pub trait ElementConversion {
    /// The number as type `E`.
    fn elem<E: Element>(self) -> E;
}

impl<T: Into<Scalar>> ElementConversion for T {
    fn elem<E: Element>(self) -> E {
        match self.into() {
            Scalar::Float(x) => x.cast(),
            Scalar::Int(x) => x.cast(),
            Scalar::Bool(x) => x.cast(),
            Scalar::Complex(x) => x.cast(),
        }
    }
}
