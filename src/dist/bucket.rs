//! Gradients that are reduced together.

use kiln_tensor::{AnyTensor, DType, Device, Result};

use super::group::{Pending, ProcessGroup, sum_dtype};

/// The first bucket, whose reduction is the first to run beside the backward pass.
const FIRST_BYTES: usize = 1 << 20;

/// Which parameters go into which bucket: those of one dtype together, the last ones first, as
/// backward gives their gradients about in this order.
pub(super) struct Plan {
    pub dtype: DType,
    /// Parameters by index, with the place of their values.
    pub members: Vec<(usize, usize)>,
    /// Values of all members together.
    pub len: usize,
}

/// Buckets of about `bytes` for the parameters that are trained.
pub(super) fn plan(params: &[AnyTensor], bytes: usize) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for (index, param) in params.iter().enumerate().rev() {
        let dtype = sum_dtype(param.dtype());
        let most = if plans.len() <= 1 { bytes.min(FIRST_BYTES) } else { bytes } / dtype.size();
        let len = param.num_elements();
        match plans.iter_mut().rev().find(|plan| plan.dtype == dtype) {
            Some(plan) if plan.len < most => {
                plan.members.push((index, plan.len));
                plan.len += len;
            }
            _ => plans.push(Plan { dtype, members: vec![(index, 0)], len }),
        }
    }
    plans
}

/// The values of a bucket on their way, followed by one number for each member: on how many ranks it
/// had a gradient.
#[derive(Debug)]
pub(super) enum Flat {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Flat {
    /// With room for `len` values; in the memory of `spare` where that fits.
    pub fn new(dtype: DType, len: usize, spare: &mut Vec<Flat>) -> Self {
        let found = spare.iter().position(|flat| flat.dtype() == dtype);
        match (found.map(|at| spare.swap_remove(at)), dtype) {
            (Some(Flat::F32(mut values)), _) => {
                values.resize(len, 0.0);
                Flat::F32(values)
            }
            (Some(Flat::F64(mut values)), _) => {
                values.resize(len, 0.0);
                Flat::F64(values)
            }
            (None, DType::F64) => Flat::F64(vec![0.0; len]),
            (None, _) => Flat::F32(vec![0.0; len]),
        }
    }

    fn dtype(&self) -> DType {
        match self {
            Flat::F32(_) => DType::F32,
            Flat::F64(_) => DType::F64,
        }
    }

    /// Writes `values`, which are of its dtype, from `at` on.
    pub fn write(&mut self, at: usize, values: &AnyTensor) -> Result<()> {
        let values = values.contiguous().to_device(&Device::cpu())?;
        let len = values.num_elements();
        match self {
            Flat::F32(flat) => flat[at..at + len].copy_from_slice(values.as_slice()?),
            Flat::F64(flat) => flat[at..at + len].copy_from_slice(values.as_slice()?),
        }
        Ok(())
    }

    /// Makes `len` values the same number.
    pub fn fill(&mut self, at: usize, len: usize, value: f32) {
        match self {
            Flat::F32(flat) => flat[at..at + len].fill(value),
            Flat::F64(flat) => flat[at..at + len].fill(value.into()),
        }
    }

    /// The whole number at `at`.
    pub fn count(&self, at: usize) -> usize {
        match self {
            Flat::F32(flat) => flat[at] as usize,
            Flat::F64(flat) => flat[at] as usize,
        }
    }

    /// Begins to add it up over all ranks.
    pub fn reduce(mut self, group: &ProcessGroup) -> Pending<Self> {
        group.begin(move |connection| {
            match &mut self {
                Flat::F32(values) => connection.all_reduce_f32(values)?,
                Flat::F64(values) => connection.all_reduce_f64(values)?,
            }
            Ok(self)
        })
    }

    /// The values as a tensor on the CPU, in the same memory.
    pub fn into_tensor(self) -> Result<AnyTensor> {
        match self {
            Flat::F32(values) => {
                let len = values.len();
                AnyTensor::from_vec(values, [len], &Device::cpu())
            }
            Flat::F64(values) => {
                let len = values.len();
                AnyTensor::from_vec(values, [len], &Device::cpu())
            }
        }
    }

    /// Takes the memory of [`Flat::into_tensor`] back.
    pub fn of(tensor: AnyTensor) -> Result<Self> {
        Ok(match tensor.dtype() {
            DType::F64 => Flat::F64(tensor.into_vec()?),
            _ => Flat::F32(tensor.into_vec()?),
        })
    }
}
