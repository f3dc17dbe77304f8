//! The leaves of a module: parameters, buffers and modes.

use std::fmt;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_autograd::Autograd;
use kiln_tensor::{Error, Float, Kind, OrFail, Tensor, fail};

use crate::module::{Module, Path, Visitor, VisitorMut};

/// A trained tensor: `Param<Tensor<2>>`. Dereferences to the tensor, and can be given wherever one
/// is taken.
///
/// A clone is a parameter of its own, with gradients of its own; the values are shared until one of
/// them is updated.
#[derive(Debug)]
pub struct Param<T>(T);

impl<const D: usize> Param<Tensor<D>> {
    /// A parameter with these values, to be trained.
    pub fn new(tensor: Tensor<D>) -> Self {
        Self(tensor.detach().require_grad())
    }

    /// The tensor itself, not a parameter of its own as a clone would be: gradients reach the
    /// parameter through it. Captured by a closure, it holds the values of now.
    pub fn val(&self) -> Tensor<D> {
        self.0.clone()
    }

    /// Replaces the values; the parameter stays the same leaf, of the same dtype, trained or not.
    /// Panics if the shape changes.
    #[track_caller]
    pub fn set(&mut self, values: impl AsRef<Tensor<D>>) {
        let (values, old) = (values.as_ref().as_any(), self.0.as_any());
        if values.shape() != old.shape() {
            let rule = "a parameter keeps its shape".into();
            let shapes = vec![old.shape(), values.shape()];
            fail(Error::Shape { op: "set parameter", shapes, rule });
        }
        let values = values.detach().cast(old.dtype()).to_device(&old.device()).or_fail();
        self.0 = Tensor::from_any(values.with_tracked(old.tracked().cloned()));
    }
}

impl<const D: usize> From<Tensor<D>> for Param<Tensor<D>> {
    fn from(tensor: Tensor<D>) -> Self {
        Self::new(tensor)
    }
}

impl<const D: usize> Clone for Param<Tensor<D>> {
    fn clone(&self) -> Self {
        if self.0.is_tracked() { Self::new(self.0.clone()) } else { Self(self.0.clone()) }
    }
}

impl<T: fmt::Display> fmt::Display for Param<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Deref for Param<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<const D: usize> AsRef<Tensor<D>> for Param<Tensor<D>> {
    fn as_ref(&self) -> &Tensor<D> {
        &self.0
    }
}

impl<const D: usize> Module for Param<Tensor<D, Float>> {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        visitor.param(path, self.0.as_any());
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        visitor.param(path, self.0.as_any_mut());
    }
}

/// A tensor that is saved with a model but not trained, such as a running mean. A forward pass may
/// replace it, also one that only borrows the model.
pub struct Buffer<T>(Mutex<T>);

impl<const D: usize, K: Kind> Buffer<Tensor<D, K>> {
    /// A buffer with these values.
    pub fn new(tensor: Tensor<D, K>) -> Self {
        Self(Mutex::new(tensor.detach()))
    }

    fn lock(&self) -> MutexGuard<'_, Tensor<D, K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current values.
    pub fn get(&self) -> Tensor<D, K> {
        self.lock().clone()
    }

    /// Replaces the values.
    pub fn set(&self, tensor: Tensor<D, K>) {
        *self.lock() = tensor.detach();
    }
}

impl<const D: usize, K: Kind> Clone for Buffer<Tensor<D, K>> {
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}

impl<const D: usize, K: Kind> fmt::Debug for Buffer<Tensor<D, K>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Buffer").field(&self.get()).finish()
    }
}

impl<const D: usize, K: Kind> fmt::Display for Buffer<Tensor<D, K>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl<const D: usize, K: Kind> Module for Buffer<Tensor<D, K>> {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        visitor.buffer(path, self.get().as_any());
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        let tensor = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        visitor.buffer(path, tensor.as_any_mut());
    }
}

/// Whether a layer behaves as in training: a field of layers that do otherwise in evaluation.
/// [`Module::train`] and [`Module::eval`] set it. It has nothing to do with gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    training: bool,
}

impl Mode {
    /// Whether the layer is being trained.
    pub fn is_training(self) -> bool {
        self.training
    }
}

/// Training.
impl Default for Mode {
    fn default() -> Self {
        Self { training: true }
    }
}

impl Module for Mode {
    fn visit(&self, _: &Path<'_>, _: &mut dyn Visitor) {}
    fn visit_mut(&mut self, _: &Path<'_>, visitor: &mut dyn VisitorMut) {
        visitor.mode(&mut self.training);
    }
}
