//! The functions behind layers, with the names and arguments of Burn's `module` and the semantics of
//! `torch.nn.functional`.
//!
//! Tensors are taken owned or borrowed; optional ones (a bias, a mask) are taken owned, which costs
//! one pointer: `Some(bias.clone())`. `[n, c, ..]` in the docs is a batch of `n` with `c` channels.

mod attention;
mod conv;
mod conv_transpose;
mod ctc;
mod deform;
mod interpolate;
mod linear;
mod loss;
mod norm;
mod options;
mod pixel;
mod pool;
mod pool_adaptive;
mod sample;
mod window;

pub use attention::{AttentionMask, attention, scaled_dot_product_attention};
pub use conv::{conv1d, conv2d, conv3d};
pub use conv_transpose::{conv_transpose1d, conv_transpose2d, conv_transpose3d};
pub use ctc::{ctc_loss, ctc_loss_reduced};
pub use deform::deform_conv2d;
pub use interpolate::{
    interpolate, interpolate_by, interpolate1d, interpolate1d_by, interpolate3d, interpolate3d_by,
};
pub use linear::{
    Indices, dropout, dropout_any, embedding, embedding_any, linear, linear_activation, linear_any,
};
pub use loss::{
    CrossEntropyOptions, Reduction, cross_entropy, cross_entropy_loss, cross_entropy_probs,
    nll_loss,
};
pub use norm::{
    BatchNormOutput, batch_norm, batch_norm_training, group_norm, instance_norm, layer_norm,
    layer_norm_any, local_response_norm, rms_norm,
};
pub use options::{
    AttentionModuleOptions, ConvTransposeOptions, DeformConvOptions, GridSampleOptions,
    GridSamplePaddingMode, InterpolateMode, InterpolateOptions, PaddedConvOptions, UnfoldOptions,
};
pub use pixel::{pixel_shuffle, pixel_unshuffle};
pub use pool::{
    avg_pool1d, avg_pool2d, avg_pool3d, lp_pool1d, lp_pool2d, max_pool1d, max_pool1d_with_indices,
    max_pool2d, max_pool2d_with_indices, max_pool3d, max_pool3d_with_indices, max_unpool2d,
};
pub use pool_adaptive::{
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices, adaptive_max_pool2d, adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d, adaptive_max_pool3d_with_indices,
};
pub use window::{fold4d, unfold4d};

pub use crate::op::ConvOptions;
