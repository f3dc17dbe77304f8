//! Contrastive losses: each item should be closer to its partner than to the rest of the batch.

use kiln_tensor::{Bool, Int, Tensor, linalg, module};

use super::{Reduction, require, same_shape, shapes_fit};
use crate::{Config, Module};

/// Rows of length one, as `torch.nn.functional.normalize` makes them.
fn unit(x: &Tensor<2>) -> Tensor<2> {
    linalg::vector_normalize(x, 2.0, 1, 1e-12)
}

/// The cross-entropy of each row of `logits` `[n, m]` whose right column is its own number, counted
/// from `first` and around.
fn row_by_row(logits: &Tensor<2>, first: usize) -> Tensor<1> {
    let [n, m] = logits.dims();
    let right: Vec<i64> = (0..n).map(|row| ((row + first) % m) as i64).collect();
    module::cross_entropy(logits, Tensor::<1, Int>::from_data(right.as_slice(), &logits.device()))
}

/// What an [`InfoNceLoss`] is made of.
#[derive(Config, Debug)]
pub struct InfoNceLossConfig {
    /// Cosines are divided by it.
    #[config(default = 0.1)]
    pub temperature: f64,
}

impl InfoNceLossConfig {
    /// Makes the loss. Panics unless the temperature is positive.
    #[track_caller]
    pub fn init(&self) -> InfoNceLoss {
        InfoNceLoss { temperature: temperature("info_nce_loss", self.temperature) }
    }
}

#[track_caller]
fn temperature(op: &'static str, temperature: f64) -> f64 {
    let rule = || format!("the temperature must be positive, found {temperature}");
    require(op, temperature > 0.0, rule);
    temperature
}

/// Cross-entropy of finding the key of each query among the keys of the batch, by their cosine (van
/// den Oord et al. 2018).
#[derive(Clone, Copy, Debug, Module)]
pub struct InfoNceLoss {
    /// Cosines are divided by it.
    pub temperature: f64,
}

impl InfoNceLoss {
    /// The loss of all queries. `queries` `[n, d]`; `keys` `[m, d]`, of which the first `n` are those
    /// of the queries and the rest further wrong ones. Panics if there are less keys than queries.
    #[track_caller]
    pub fn forward(
        &self,
        queries: impl AsRef<Tensor<2>>,
        keys: impl AsRef<Tensor<2>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(queries, keys))
    }

    /// The loss of each query, `[n]`.
    #[track_caller]
    pub fn forward_no_reduction(
        &self,
        queries: impl AsRef<Tensor<2>>,
        keys: impl AsRef<Tensor<2>>,
    ) -> Tensor<1> {
        let (queries, keys) = (queries.as_ref(), keys.as_ref());
        let ([n, d], [m, width]) = (queries.dims(), keys.dims());
        let shapes = [queries.shape(), keys.shape()];
        let rule = "expected [n, d] and [m, d] with a key for each query";
        shapes_fit("info_nce_loss", d == width && n <= m, &shapes, rule);
        let logits = unit(queries).matmul(unit(keys).transpose()).div_scalar(self.temperature);
        row_by_row(&logits, 0)
    }
}

/// What an [`NtXentLoss`] is made of.
#[derive(Config, Debug)]
pub struct NtXentLossConfig {
    /// Cosines are divided by it.
    #[config(default = 0.5)]
    pub temperature: f64,
}

impl NtXentLossConfig {
    /// Makes the loss. Panics unless the temperature is positive.
    #[track_caller]
    pub fn init(&self) -> NtXentLoss {
        NtXentLoss { temperature: temperature("nt_xent_loss", self.temperature) }
    }
}

/// The loss of SimCLR (Chen et al. 2020): cross-entropy of finding, by cosine, the other view of an
/// item among both views of all other items.
///
/// ```
/// use kiln_nn::{NtXentLossConfig, Reduction};
/// use kiln_tensor::Tensor;
/// let views = Tensor::<2>::from([[1.0, 0.0], [0.0, 1.0]]);
/// let loss = NtXentLossConfig::new().with_temperature(0.01).init();
/// assert!(loss.forward(&views, &views, Reduction::Mean).into_scalar::<f32>() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct NtXentLoss {
    /// Cosines are divided by it.
    pub temperature: f64,
}

impl NtXentLoss {
    /// The loss of all views. Both are `[n, d]`. Panics if the shapes differ.
    #[track_caller]
    pub fn forward(
        &self,
        first: impl AsRef<Tensor<2>>,
        second: impl AsRef<Tensor<2>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(first, second))
    }

    /// The loss of each view, `[2 n]`: the first ones, then the second ones.
    #[track_caller]
    pub fn forward_no_reduction(
        &self,
        first: impl AsRef<Tensor<2>>,
        second: impl AsRef<Tensor<2>>,
    ) -> Tensor<1> {
        let (first, second) = (first.as_ref(), second.as_ref());
        same_shape("nt_xent_loss", first, second);
        let n = first.dims()[0];
        let views = unit(&Tensor::cat(vec![first.clone(), second.clone()], 0));
        let logits = views.matmul(views.transpose()).div_scalar(self.temperature);
        // A view is not to be found in itself.
        let own = Tensor::<2, Bool>::diag_mask([2 * n, 2 * n], 0, &first.device()).bool_not();
        row_by_row(&logits.mask_fill(own, f64::NEG_INFINITY), n)
    }
}

/// The loss of CLIP (Radford et al. 2021): cross-entropy of finding the text of each image and the
/// image of each text in the batch, by cosine.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct ClipLoss;

impl ClipLoss {
    /// There is nothing to set.
    pub fn new() -> Self {
        Self
    }

    /// The loss of all pairs. `images` and `texts` `[n, d]`; cosines are multiplied by `scale` `[1]`,
    /// which CLIP learns as the exponential of a parameter. Panics if the shapes do not fit.
    #[track_caller]
    pub fn forward(
        &self,
        images: impl AsRef<Tensor<2>>,
        texts: impl AsRef<Tensor<2>>,
        scale: impl AsRef<Tensor<1>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(images, texts, scale))
    }

    /// The loss of each pair, `[n]`: the mean of that of its image and that of its text.
    #[track_caller]
    pub fn forward_no_reduction(
        &self,
        images: impl AsRef<Tensor<2>>,
        texts: impl AsRef<Tensor<2>>,
        scale: impl AsRef<Tensor<1>>,
    ) -> Tensor<1> {
        let (images, texts, scale) = (images.as_ref(), texts.as_ref(), scale.as_ref());
        same_shape("clip_loss", images, texts);
        let shapes = [images.shape(), scale.shape()];
        shapes_fit("clip_loss", scale.dims() == [1], &shapes, "the scale is one number");
        let logits = unit(images).matmul(unit(texts).transpose()).mul(scale.reshape([1, 1]));
        let both = row_by_row(&logits, 0).add(row_by_row(&logits.transpose(), 0));
        both.mul_scalar(0.5)
    }
}
