//! Normalising layers.

mod batch;
mod group;
mod instance;
mod layer;
mod rms;

pub use batch::{
    BatchNorm, BatchNorm1d, BatchNorm1dConfig, BatchNorm2d, BatchNorm2dConfig, BatchNorm3d,
    BatchNorm3dConfig, BatchNormConfig,
};
pub use group::{GroupNorm, GroupNormConfig, LocalResponseNorm, LocalResponseNormConfig};
pub use instance::{
    InstanceNorm, InstanceNorm1d, InstanceNorm1dConfig, InstanceNorm2d, InstanceNorm2dConfig,
    InstanceNorm3d, InstanceNorm3dConfig, InstanceNormConfig,
};
pub use layer::{LayerNorm, LayerNormConfig, NormShape};
pub use rms::{RmsNorm, RmsNormConfig};
