//! Losses: what training makes small.
//!
//! `forward(prediction, target, reduction)` gives one number, `forward_no_reduction` the loss of each
//! item. Where Burn's loss has a `forward` without a reduction, so has this one, and
//! `forward_with_reduction` beside it. Numbers are PyTorch's. A loss may be a field of a module; its
//! weights are saved as buffers, as in PyTorch.

mod binary;
mod contrastive;
mod cross_entropy;
mod ctc;
mod difference;
mod focal;
mod likelihood;
mod margin;
mod metric;
mod multi_label;
mod overlap;

pub use binary::{BinaryCrossEntropyLoss, BinaryCrossEntropyLossConfig};
pub use contrastive::{ClipLoss, InfoNceLoss, InfoNceLossConfig, NtXentLoss, NtXentLossConfig};
pub use cross_entropy::{CrossEntropyLoss, CrossEntropyLossConfig};
pub use ctc::{CTCLoss, CTCLossConfig};
pub use difference::{
    HuberLoss, HuberLossConfig, L1Loss, LpLoss, LpLossConfig, MseLoss, SmoothL1Loss,
    SmoothL1LossConfig,
};
pub use focal::{FocalLoss, FocalLossConfig, SigmoidFocalLoss, SigmoidFocalLossConfig};
pub use kiln_tensor::module::Reduction;
pub use likelihood::{
    GaussianNLLLoss, GaussianNLLLossConfig, KLDivLoss, KLDivLossConfig, NllLoss, NllLossConfig,
    PoissonNllLoss, PoissonNllLossConfig,
};
pub use margin::{
    HingeEmbeddingLoss, HingeEmbeddingLossConfig, MarginRankingLoss, MarginRankingLossConfig,
    MultiMarginLoss, MultiMarginLossConfig, SoftMarginLoss,
};
pub use metric::{
    CosineEmbeddingLoss, CosineEmbeddingLossConfig, TripletMarginLoss, TripletMarginLossConfig,
};
pub use multi_label::{
    MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiLabelSoftMarginLossConfig,
};
pub use overlap::{DiceLoss, DiceLossConfig, TverskyLoss, TverskyLossConfig};

use kiln_tensor::{DType, Device, Error, Kind, Shape, Tensor, fail};

use crate::Buffer;

/// Broadcasting a prediction to its target is nearly always a mistake.
#[track_caller]
fn same_shape<const D: usize, K: Kind>(op: &'static str, x: &Tensor<D>, target: &Tensor<D, K>) {
    if x.shape() != target.shape() {
        let rule = "prediction and target must have one shape".into();
        fail(Error::Shape { op, shapes: vec![x.shape(), target.shape()], rule });
    }
}

#[track_caller]
fn shapes_fit(op: &'static str, fit: bool, shapes: &[Shape], rule: &str) {
    if !fit {
        fail(Error::Shape { op, shapes: shapes.to_vec(), rule: rule.into() });
    }
}

#[track_caller]
fn require(op: &'static str, holds: bool, rule: impl FnOnce() -> String) {
    if !holds {
        fail(Error::Argument { op, rule: rule() });
    }
}

/// The weights of a config as a buffer of the loss.
fn weights(weights: &Option<Vec<f64>>, device: &Device) -> Option<Buffer<Tensor<1>>> {
    weights.as_ref().map(|weights| Buffer::new(Tensor::from_data(weights.as_slice(), device)))
}

/// The weights of the classes; there must be one for each.
#[track_caller]
fn class_weights(
    op: &'static str,
    weights: &Buffer<Tensor<1>>,
    classes: usize,
    dtype: DType,
) -> Tensor<1> {
    let weights = weights.get();
    let rule = || format!("{} weights for {classes} classes", weights.num_elements());
    require(op, weights.dims() == [classes], rule);
    weights.cast(dtype)
}
