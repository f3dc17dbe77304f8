//! Normalising layers.

use kiln_autograd::no_grad;
use kiln_tensor::op::{BatchNorm, BatchNormEval};
use kiln_tensor::{AnyTensor, Device, Int, Shape, Tensor, module};

use super::layer;
use crate::{Buffer, Layer, Mode, Module, Param};

/// What a [`BatchNorm2d`] is made of.
#[derive(Clone, Debug)]
pub struct BatchNorm2dConfig {
    channels: usize,
    epsilon: f64,
    momentum: f64,
}

impl BatchNorm2dConfig {
    /// For images of `channels` channels.
    pub fn new(channels: usize) -> Self {
        Self { channels, epsilon: 1e-5, momentum: 0.1 }
    }

    /// Added to the variance; 1e-5 if not set.
    pub fn with_epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// Share of a batch's statistics in the running ones; 0.1 if not set.
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Makes the layer.
    pub fn init(&self, device: &Device) -> BatchNorm2d {
        let shape = [self.channels];
        BatchNorm2d {
            weight: Tensor::ones(shape, device).into(),
            bias: Tensor::zeros(shape, device).into(),
            running_mean: Buffer::new(Tensor::zeros(shape, device)),
            running_var: Buffer::new(Tensor::ones(shape, device)),
            num_batches_tracked: Buffer::new(Tensor::zeros([], device)),
            epsilon: self.epsilon,
            momentum: self.momentum,
            mode: Mode::default(),
        }
    }
}

/// `torch.nn.BatchNorm2d` (Ioffe & Szegedy 2015): in training every channel is standardised by its
/// batch, and running statistics are kept, which evaluation uses.
#[derive(Clone, Debug, Module)]
pub struct BatchNorm2d {
    /// `[c]`
    pub weight: Param<Tensor<1>>,
    /// `[c]`
    pub bias: Param<Tensor<1>>,
    /// `[c]`
    pub running_mean: Buffer<Tensor<1>>,
    /// `[c]`, unbiased as in PyTorch.
    pub running_var: Buffer<Tensor<1>>,
    /// How many batches the statistics have seen.
    pub num_batches_tracked: Buffer<Tensor<0, Int>>,
    /// Added to the variance.
    pub epsilon: f64,
    /// Share of a batch's statistics in the running ones.
    pub momentum: f64,
    mode: Mode,
}

impl BatchNorm2d {
    /// `[n, c, h, w]` to the same shape.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.as_any(), self.bias.as_any());
        if !self.mode.is_training() {
            let (mean, var) = (self.running_mean.get(), self.running_var.get());
            let op = BatchNormEval { epsilon: self.epsilon };
            return x.apply(op, &[weight, bias, mean.as_any(), var.as_any()]);
        }
        let outputs = x.as_any().apply_all(BatchNorm { epsilon: self.epsilon }, &[weight, bias]);
        no_grad(|| self.update_statistics(x, &outputs[1], &outputs[2]));
        Tensor::from_any(outputs.into_iter().next().expect("an output"))
    }

    fn update_statistics(&self, x: &Tensor<4>, mean: &AnyTensor, rstd: &AnyTensor) {
        let n = (x.num_elements() / x.dims()[1].max(1)) as f64;
        let (mean, rstd) =
            (Tensor::<1>::from_any(mean.detach()), Tensor::<1>::from_any(rstd.detach()));
        // The batch is standardised by the biased variance, the running one is unbiased.
        let var = (rstd.square().recip() - self.epsilon) * (n / (n - 1.0).max(1.0));
        let blend = |buffer: &Buffer<Tensor<1>>, batch: Tensor<1>| {
            let old = buffer.get();
            let batch = batch.cast(old.dtype());
            buffer.set(&old * (1.0 - self.momentum) + batch * self.momentum);
        };
        blend(&self.running_mean, mean);
        blend(&self.running_var, var);
        self.num_batches_tracked.set(self.num_batches_tracked.get() + 1);
    }
}

layer!(BatchNorm2d);

/// What a [`LayerNorm`] is made of.
#[derive(Clone, Debug)]
pub struct LayerNormConfig<const D: usize = 1> {
    shape: [usize; D],
    epsilon: f64,
    affine: bool,
}

impl<const D: usize> LayerNormConfig<D> {
    /// Over the last axes of this shape: `[d]` for the last one.
    pub fn new(shape: [usize; D]) -> Self {
        Self { shape, epsilon: 1e-5, affine: true }
    }

    /// Added to the variance; 1e-5 if not set.
    pub fn with_epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// With or without weight and bias.
    pub fn with_affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// Makes the layer.
    pub fn init(&self, device: &Device) -> LayerNorm<D> {
        LayerNorm {
            weight: self.affine.then(|| Tensor::ones(self.shape, device).into()),
            bias: self.affine.then(|| Tensor::zeros(self.shape, device).into()),
            shape: self.shape.into(),
            epsilon: self.epsilon,
        }
    }
}

/// `torch.nn.LayerNorm` over the last axis, or the last `D` axes (Ba et al. 2016).
///
/// ```
/// use kiln_nn::LayerNormConfig;
/// use kiln_tensor::{Device, Tensor};
/// let layer = LayerNormConfig::new([2]).init(&Device::cpu());
/// let y = layer.forward(&Tensor::<2>::from([[1.0, 3.0], [40.0, 20.0]]));
/// assert_eq!(y.round().into_data().to_vec::<f32>()?, [-1.0, 1.0, 1.0, -1.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct LayerNorm<const D: usize = 1> {
    /// The shape of the axes.
    pub weight: Option<Param<Tensor<D>>>,
    /// The shape of the axes.
    pub bias: Option<Param<Tensor<D>>>,
    #[module(skip)]
    shape: Shape,
    /// Added to the variance.
    pub epsilon: f64,
}

impl<const D: usize> LayerNorm<D> {
    /// Any shape that ends with that of the layer, to the same shape.
    #[track_caller]
    pub fn forward<const D2: usize>(&self, x: &Tensor<D2>) -> Tensor<D2> {
        Tensor::from_any(self.forward_any(x.as_any()))
    }
}

impl<const D: usize> Layer for LayerNorm<D> {
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        let affine = self.weight.as_ref().zip(self.bias.as_ref());
        let affine = affine.map(|(weight, bias)| (weight.as_any(), bias.as_any()));
        module::layer_norm_any(x, &self.shape, affine, self.epsilon)
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}
