//! Weights that are computed from other parameters.

use kiln_autograd::no_grad;
use kiln_tensor::op::{Axes, Meta, ReduceKind};
use kiln_tensor::{AnyTensor, Distribution, Error, Tensor, linalg};

use crate::module::{Module, Path, Visitor, VisitorMut};
use crate::{Buffer, Config, Layer, Mode};

/// A layer without one of its parameters, which is computed anew for each forward pass.
#[derive(Clone, Debug)]
struct Hollow<M> {
    layer: M,
    /// The path of the parameter inside of the layer.
    name: String,
}

impl<M: Layer + Clone> Hollow<M> {
    /// Takes the parameter out of the layer. Panics if the layer has no such parameter, or has
    /// buffers: passes would update those of a copy.
    #[track_caller]
    fn new(op: &'static str, mut layer: M, name: &str) -> (Self, AnyTensor) {
        struct Take<'a>(&'a str, Option<AnyTensor>);
        impl VisitorMut for Take<'_> {
            fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
                if path.is(self.0) {
                    let empty = Meta::new(tensor.shape().with(0, 0), tensor.dtype());
                    let empty = AnyTensor::full(empty, 0, tensor.device());
                    self.1 = Some(std::mem::replace(tensor, empty));
                }
            }
        }
        let mut take = Take(name, None);
        layer.visit_mut(&Path::ROOT, &mut take);
        let fail = |rule| kiln_tensor::fail(Error::Argument { op, rule });
        let Some(weight) = take.1 else { fail(format!("the layer has no parameter {name:?}")) };
        if !layer.named_buffers().is_empty() {
            fail("the layer must not have buffers".into());
        }
        (Self { layer, name: name.to_string() }, weight)
    }

    #[track_caller]
    fn forward(&self, x: &AnyTensor, weight: &AnyTensor) -> AnyTensor {
        /// Gives a copy the tensors themselves, which the gradients belong to.
        struct Fill<'a>(Vec<(String, AnyTensor)>, &'a str, &'a AnyTensor);
        impl VisitorMut for Fill<'_> {
            fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
                let own = self.0.iter().find(|(name, _)| path.is(name));
                *tensor = match own {
                    _ if path.is(self.1) => self.2.clone(),
                    Some((_, own)) => own.clone(),
                    None => return,
                };
            }
        }
        let mut layer = self.layer.clone();
        let mut fill = Fill(self.layer.named_params(), &self.name, weight);
        layer.visit_mut(&Path::ROOT, &mut fill);
        layer.forward_any(x)
    }

    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        struct Others<'a>(String, &'a mut dyn Visitor);
        impl Visitor for Others<'_> {
            fn param(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
                if !path.is(&self.0) {
                    self.1.param(path, tensor);
                }
            }
        }
        let hidden = path.child(&self.name).to_string();
        self.layer.visit(path, &mut Others(hidden, visitor));
    }

    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        struct Others<'a>(String, &'a mut dyn VisitorMut);
        impl VisitorMut for Others<'_> {
            fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
                if !path.is(&self.0) {
                    self.1.param(path, tensor);
                }
            }
            fn mode(&mut self, training: &mut bool) {
                self.1.mode(training);
            }
        }
        let hidden = path.child(&self.name).to_string();
        self.layer.visit_mut(path, &mut Others(hidden, visitor));
    }
}

/// A parameter of any rank.
#[derive(Debug)]
struct AnyParam(AnyTensor);

impl AnyParam {
    fn new(tensor: &AnyTensor) -> Self {
        Self(kiln_autograd::leaf(&tensor.detach()))
    }
}

/// A parameter of its own, as a clone of a [`Param`](crate::Param) is.
impl Clone for AnyParam {
    fn clone(&self) -> Self {
        if self.0.tracked().is_some() { Self::new(&self.0) } else { Self(self.0.clone()) }
    }
}

impl Module for AnyParam {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        visitor.param(path, &self.0);
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        visitor.param(path, &mut self.0);
    }
}

macro_rules! wrapper {
    ($name:ident) => {
        impl<M: Layer + Clone + 'static> $name<M> {
            /// The layer's forward pass. Panics if the result does not have rank `D2`.
            #[track_caller]
            pub fn forward<const D: usize, const D2: usize>(&self, x: &Tensor<D>) -> Tensor<D2> {
                Tensor::from_any(self.forward_any(x.as_any()))
            }
        }

        impl<M: Layer + Clone + 'static> Layer for $name<M> {
            #[track_caller]
            fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
                self.layer.forward(x, &self.weight())
            }

            fn boxed_clone(&self) -> Box<dyn Layer> {
                Box::new(self.clone())
            }
        }

        impl<M: Layer + Clone> Module for $name<M> {
            fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
                self.layer.visit(path, visitor);
                let path = path.child("parametrizations");
                self.visit_own(&path.child(&self.layer.name), visitor);
            }
            fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
                self.layer.visit_mut(path, visitor);
                let (path, name) = (path.child("parametrizations"), self.layer.name.clone());
                self.visit_own_mut(&path.child(&name), visitor);
            }
        }
    };
}

/// What a [`WeightNorm`] is made of.
#[derive(Config, Debug)]
pub struct WeightNormConfig {
    /// The path of the parameter inside of the layer.
    #[config(default = "weight")]
    pub name: String,
    /// The axis whose entries have lengths of their own; with `None` there is one length.
    #[config(default = Some(0), into)]
    pub dim: Option<usize>,
}

impl WeightNormConfig {
    /// Wraps a layer. Panics if it has no such parameter or axis, or has buffers.
    #[track_caller]
    pub fn init<M: Layer + Clone>(&self, layer: M) -> WeightNorm<M> {
        let (layer, weight) = Hollow::new("weight_norm", layer, &self.name);
        if let Some(dim) = self.dim.filter(|&dim| dim >= weight.rank()) {
            let (axis, rank) = (dim as isize, weight.rank());
            kiln_tensor::fail(Error::Axis { op: "weight_norm", axis, rank });
        }
        let lengths = no_grad(|| lengths(&weight, self.dim));
        let lengths = AnyParam::new(&lengths);
        WeightNorm { layer, lengths, direction: AnyParam::new(&weight), dim: self.dim }
    }
}

/// The Euclidean lengths of what is under each entry of axis `dim`, with the other axes of
/// extent 1; without an axis the length of all, of rank 0.
#[track_caller]
fn lengths(weight: &AnyTensor, dim: Option<usize>) -> AnyTensor {
    let axes: Axes = (0..weight.rank()).filter(|&axis| Some(axis) != dim).collect();
    let squares = weight.square();
    let sums = if weight.rank() == 1 && dim.is_some() {
        squares
    } else {
        squares.reduce(ReduceKind::Sum, axes)
    };
    let sums = if dim.is_none() { sums.reshape([]) } else { sums };
    sums.sqrt()
}

/// `torch.nn.utils.parametrizations.weight_norm` (Salimans & Kingma 2016): a weight as a direction
/// times its length.
///
/// The state dict has PyTorch's names, `parametrizations.weight.original0` for the lengths and
/// `parametrizations.weight.original1` for the direction, behind the layer's other parameters.
///
/// ```
/// use kiln_nn::{LinearConfig, Module, WeightNormConfig};
/// use kiln_tensor::{Device, Tensor};
/// let linear = LinearConfig::new(3, 2).init(&Device::cpu());
/// let layer = WeightNormConfig::new().init(linear);
/// let y: Tensor<2> = layer.forward(&Tensor::<2>::zeros([4, 3], &Device::cpu()));
/// assert_eq!(y.dims(), [4, 2]);
/// let paths: Vec<_> = layer.named_params().into_iter().map(|(path, _)| path).collect();
/// assert_eq!(paths[1], "parametrizations.weight.original0");
/// ```
#[derive(Clone, Debug)]
pub struct WeightNorm<M> {
    layer: Hollow<M>,
    lengths: AnyParam,
    direction: AnyParam,
    dim: Option<usize>,
}

impl<M: Layer + Clone> WeightNorm<M> {
    /// The weight that a forward pass uses.
    #[track_caller]
    pub fn weight(&self) -> AnyTensor {
        let direction = &self.direction.0;
        direction.mul(&self.lengths.0.div(&lengths(direction, self.dim)))
    }

    fn visit_own(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        self.lengths.visit(&path.child("original0"), visitor);
        self.direction.visit(&path.child("original1"), visitor);
    }

    fn visit_own_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.lengths.visit_mut(&path.child("original0"), visitor);
        self.direction.visit_mut(&path.child("original1"), visitor);
    }
}

wrapper!(WeightNorm);

/// What a [`SpectralNorm`] is made of.
#[derive(Config, Debug)]
pub struct SpectralNormConfig {
    /// The path of the parameter inside of the layer.
    #[config(default = "weight")]
    pub name: String,
    /// Steps toward the largest singular value in each forward pass in training.
    #[config(default = 1)]
    pub n_power_iterations: usize,
    /// Lengths count as this at least.
    #[config(default = 1e-12)]
    pub eps: f64,
    /// The axis of the outputs: 0, and 1 for transposed convolutions.
    #[config(default = 0)]
    pub dim: usize,
}

impl SpectralNormConfig {
    /// Wraps a layer. Panics if it has no such parameter or axis, or has buffers.
    #[track_caller]
    pub fn init<M: Layer + Clone>(&self, layer: M) -> SpectralNorm<M> {
        let (layer, weight) = Hollow::new("spectral_norm", layer, &self.name);
        if self.dim >= weight.rank() {
            let (axis, rank) = (self.dim as isize, weight.rank());
            kiln_tensor::fail(Error::Axis { op: "spectral_norm", axis, rank });
        }
        let vector = |n: usize| {
            let options = (&weight.device(), weight.dtype());
            let law = Distribution::Normal(0.0, 1.0);
            Buffer::new(normalize(&Tensor::random([n], law, options), self.eps))
        };
        let rows = weight.shape()[self.dim];
        let vectors = (weight.rank() > 1)
            .then(|| (vector(rows), vector(weight.num_elements() / rows.max(1))));
        let norm = SpectralNorm {
            layer,
            original: AnyParam::new(&weight),
            vectors,
            n_power_iterations: self.n_power_iterations,
            eps: self.eps,
            dim: self.dim,
            mode: Mode::default(),
        };
        no_grad(|| norm.iterate(15));
        norm
    }
}

/// A vector of length 1.
fn normalize(vector: &Tensor<1>, eps: f64) -> Tensor<1> {
    vector / vector.square().sum().sqrt().clamp_min(eps)
}

/// `torch.nn.utils.parametrizations.spectral_norm` (Miyato et al. 2018): a weight divided by its
/// largest singular value, which each forward pass in training comes nearer to.
///
/// The state dict has PyTorch's names, `parametrizations.weight.original` and the buffers
/// `parametrizations.weight.0._u` and `parametrizations.weight.0._v`, behind the layer's other
/// parameters.
#[derive(Clone, Debug)]
pub struct SpectralNorm<M> {
    layer: Hollow<M>,
    original: AnyParam,
    /// The singular vectors on both sides; a weight of one axis needs none.
    vectors: Option<(Buffer<Tensor<1>>, Buffer<Tensor<1>>)>,
    n_power_iterations: usize,
    eps: f64,
    dim: usize,
    mode: Mode,
}

impl<M: Layer + Clone> SpectralNorm<M> {
    /// The weight as a matrix, `[rows, columns]`.
    #[track_caller]
    fn matrix(&self) -> Tensor<2> {
        let weight = &self.original.0;
        let front = (0..weight.rank() as u8).filter(|&axis| axis as usize != self.dim);
        let axes: Vec<u8> = [self.dim as u8].into_iter().chain(front).collect();
        let rows = weight.shape()[self.dim];
        let columns = weight.num_elements() / rows.max(1);
        Tensor::from_any(weight.permute(&axes).reshape([rows, columns]))
    }

    fn iterate(&self, steps: usize) {
        let Some((left, right)) = &self.vectors else { return };
        let matrix = self.matrix().detach();
        for _ in 0..steps {
            left.set(normalize(&linalg::mv(&matrix, right.get()), self.eps));
            right.set(normalize(&linalg::mv(matrix.transpose(), left.get()), self.eps));
        }
    }

    /// The weight that a forward pass uses; in training it comes nearer to the singular vectors
    /// first.
    #[track_caller]
    pub fn weight(&self) -> AnyTensor {
        let weight = &self.original.0;
        let Some((left, right)) = &self.vectors else {
            let length = Tensor::<1>::from_any(weight.clone()).square().sum().sqrt();
            return weight.div(length.clamp_min(self.eps).as_any());
        };
        if self.mode.is_training() {
            no_grad(|| self.iterate(self.n_power_iterations));
        }
        let sigma = (left.get() * linalg::mv(self.matrix(), right.get())).sum();
        weight.div(sigma.as_any())
    }

    fn visit_own(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        self.original.visit(&path.child("original"), visitor);
        if let Some((left, right)) = &self.vectors {
            let path = path.index(0);
            left.visit(&path.child("_u"), visitor);
            right.visit(&path.child("_v"), visitor);
        }
    }

    fn visit_own_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.original.visit_mut(&path.child("original"), visitor);
        if let Some((left, right)) = &mut self.vectors {
            let path = path.index(0);
            left.visit_mut(&path.child("_u"), visitor);
            right.visit_mut(&path.child("_v"), visitor);
        }
        self.mode.visit_mut(path, visitor);
    }
}

wrapper!(SpectralNorm);
