//! Layers one after the other.

use std::fmt;

use kiln_tensor::{AnyTensor, Float, Kind, Tensor};

use crate::ModuleDict;
use crate::module::{Module, Path, Visitor, VisitorMut};

/// A module from one tensor to one tensor, of any ranks and kinds: what a [`Sequential`] is made
/// of.
pub trait Layer: Module + fmt::Debug + Send + Sync {
    /// The layer's `forward`. Panics if the rank or the kind is not the one that the layer takes.
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor;

    /// A copy of the layer.
    fn boxed_clone(&self) -> Box<dyn Layer>;
}

/// Layers one after the other, with their index as name or one that is given: `torch.nn.Sequential`.
///
/// ```
/// use kiln_nn::{LinearConfig, Relu, Sequential};
/// use kiln_tensor::{Device, Tensor};
/// let device = Device::cpu();
/// let model = Sequential::new()
///     .add(LinearConfig::new(4, 8).init(&device))
///     .add(Relu::new())
///     .add(LinearConfig::new(8, 2).init(&device));
/// let y: Tensor<2> = model.forward(&Tensor::<2>::zeros([3, 4], &device));
/// assert_eq!(y.dims(), [3, 2]);
/// ```
#[derive(Debug, Default)]
pub struct Sequential {
    layers: ModuleDict<Box<dyn Layer>>,
}

impl Sequential {
    /// Without layers: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more layer at the end, under its index.
    #[allow(clippy::should_implement_trait)]
    #[track_caller]
    pub fn add(self, layer: impl Layer + 'static) -> Self {
        let index = self.len().to_string();
        self.add_named(index, layer)
    }

    /// With one more layer at the end, under a name. Panics if the name is taken, empty or has a
    /// dot.
    #[track_caller]
    pub fn add_named(mut self, name: impl Into<String>, layer: impl Layer + 'static) -> Self {
        let name = name.into();
        if self.layers.contains_key(&name) {
            let rule = format!("there is a layer {name:?} already");
            kiln_tensor::fail(kiln_tensor::Error::Argument { op: "sequential", rule });
        }
        self.layers.insert(name, Box::new(layer));
        self
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// All layers in order. Panics if the result does not have rank `D2`.
    #[track_caller]
    pub fn forward<const D: usize, const D2: usize, K: Kind>(
        &self,
        x: &Tensor<D, K>,
    ) -> Tensor<D2, Float> {
        Tensor::from_any(self.forward_any(x.as_any()))
    }
}

impl Layer for Sequential {
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        self.layers.values().fold(x.clone(), |x, layer| layer.forward_any(&x))
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}

impl Clone for Sequential {
    fn clone(&self) -> Self {
        let layers = self.layers.iter().map(|(name, layer)| (name, layer.boxed_clone()));
        Self { layers: layers.collect() }
    }
}

impl Module for Sequential {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        visitor.enter_module(path, "Sequential");
        self.layers.visit(path, visitor);
        visitor.exit_module(path, "Sequential");
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.layers.visit_mut(path, visitor);
    }
}
