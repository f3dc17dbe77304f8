//! Walking over the tensors of a module.

use std::any::Any;

use kiln_tensor::AnyTensor;

use crate::module::Path;

/// Looks at the tensors of a module, in the order of declaration: Burn's `ModuleVisitor`. All
/// methods do nothing unless they are written.
///
/// ```
/// use kiln_nn::{LinearConfig, Module, Path, Visitor};
/// use kiln_tensor::{AnyTensor, Device};
///
/// /// The memory of all weights, but not of biases.
/// struct WeightBytes(usize);
/// impl Visitor for WeightBytes {
///     fn param(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
///         if path.to_string().ends_with("weight") {
///             self.0 += tensor.num_elements() * tensor.dtype().size();
///         }
///     }
/// }
///
/// let model = [4, 2].map(|outputs| LinearConfig::new(3, outputs).init(&Device::cpu()));
/// let mut bytes = WeightBytes(0);
/// model.visit(&Path::ROOT, &mut bytes);
/// assert_eq!(bytes.0, (4 * 3 + 2 * 3) * 4);
/// ```
pub trait Visitor {
    /// A parameter or a buffer, unless the method for its kind is written.
    fn tensor(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        let _ = (path, tensor);
    }
    /// A parameter, which is trained.
    fn param(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        self.tensor(path, tensor);
    }
    /// A buffer, which is saved but not trained.
    fn buffer(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        self.tensor(path, tensor);
    }
    /// A second name, `path`, of the parameter that was shown as `owner`.
    fn tied(&mut self, path: &Path<'_>, owner: &Path<'_>, tensor: &AnyTensor) {
        let _ = (path, owner, tensor);
    }
    /// A module of the type `name` begins; those inside of it come before it ends.
    fn enter_module(&mut self, path: &Path<'_>, name: &'static str) {
        let _ = (path, name);
    }
    /// A module ends.
    fn exit_module(&mut self, path: &Path<'_>, name: &'static str) {
        let _ = (path, name);
    }
}

/// Changes the tensors of a module, in the order of declaration: Burn's `ModuleMapper`. A tensor that
/// is replaced must keep its rank and kind. All methods do nothing unless they are written.
///
/// ```
/// use kiln_nn::{LinearConfig, Module, Path, VisitorMut};
/// use kiln_tensor::{AnyTensor, Device};
///
/// /// Pulls all parameters toward zero.
/// struct Shrink(f64);
/// impl VisitorMut for Shrink {
///     fn param(&mut self, _: &Path<'_>, tensor: &mut AnyTensor) {
///         // What is computed is no leaf: the new values take the place of the old ones in it.
///         let values = tensor.detach().mul_scalar(self.0);
///         *tensor = values.with_tracked(tensor.tracked().cloned());
///     }
/// }
///
/// let mut model = LinearConfig::new(3, 2).init(&Device::cpu());
/// let before = model.weight.abs().max().into_scalar::<f32>();
/// model.visit_mut(&Path::ROOT, &mut Shrink(0.5));
/// assert_eq!(model.weight.abs().max().into_scalar::<f32>(), before / 2.0);
/// ```
pub trait VisitorMut {
    /// A parameter or a buffer, unless the method for its kind is written.
    fn tensor(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
        let _ = (path, tensor);
    }
    /// A parameter, which is trained.
    fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
        self.tensor(path, tensor);
    }
    /// A buffer, which is saved but not trained.
    fn buffer(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
        self.tensor(path, tensor);
    }
    /// A second name, `path`, of the parameter that was shown as `owner`.
    fn tied(&mut self, path: &Path<'_>, owner: &Path<'_>, tensor: &mut AnyTensor) {
        let _ = (path, owner, tensor);
    }
    /// Whether a layer behaves as in training.
    fn mode(&mut self, training: &mut bool) {
        let _ = training;
    }
    /// A module that derives `Module`, after all that is inside of it. `downcast_mut` finds those of
    /// one type: all [`Linear`](crate::Linear) layers of a model, say.
    fn module(&mut self, path: &Path<'_>, module: &mut dyn Any) {
        let _ = (path, module);
    }
}
