//! Gradients that are reduced together.

use std::sync::Arc;

use kiln_tensor::{AnyTensor, DType, Device, Result};

use super::group::{Pending, ProcessGroup, mean, sum_dtype};
use super::nccl::{Communicator, Reduction};

/// The first bucket, whose reduction is the first to run beside the backward pass.
const FIRST_BYTES: usize = 1 << 20;

/// Which parameters go into which bucket: those of one dtype on one device together, the last ones
/// first, as backward gives their gradients about in this order.
pub(super) struct Plan {
    pub device: Device,
    /// The dtype on the way.
    pub dtype: DType,
    /// For values that stay on their GPU.
    pub communicator: Option<Arc<Communicator>>,
    /// Parameters by index, with the place of their values.
    pub members: Vec<(usize, usize)>,
    /// Values of all members together.
    pub len: usize,
}

/// Buckets of about `bytes` for the parameters that are trained.
pub(super) fn plan(group: &ProcessGroup, params: &[AnyTensor], bytes: usize) -> Result<Vec<Plan>> {
    let mut plans: Vec<Plan> = Vec::new();
    for (index, param) in params.iter().enumerate().rev() {
        let device = param.device();
        let communicator = group.communicator(&device)?;
        // NCCL takes the mean and not the sum, which of halves may be too large a number.
        let on_gpu = communicator.is_some();
        let dtype = if on_gpu { param.dtype() } else { sum_dtype(param.dtype()) };
        let most = if plans.len() <= 1 { bytes.min(FIRST_BYTES) } else { bytes } / dtype.size();
        let len = param.num_elements();
        let alike = |plan: &&mut Plan| plan.dtype == dtype && plan.device == device;
        match plans.iter_mut().rev().find(alike) {
            Some(plan) if plan.len < most => {
                plan.members.push((index, plan.len));
                plan.len += len;
            }
            _ => plans.push(Plan { device, dtype, communicator, members: vec![(index, 0)], len }),
        }
    }
    Ok(plans)
}

/// The values of a bucket on their way over all ranks.
pub(super) enum Moving {
    /// Their sum.
    Host(Pending<Flat>),
    /// Their mean.
    Device(Reduction),
}

impl Plan {
    /// Sends the gradients of the members on their way; zeros of those that have none.
    pub fn send(
        &self,
        group: &ProcessGroup,
        gradients: &[Option<AnyTensor>],
        params: &[AnyTensor],
        spare: &mut Vec<Flat>,
    ) -> Result<Moving> {
        if let Some(communicator) = &self.communicator {
            let members = gradients.iter().zip(&self.members);
            let values = members.map(|(gradient, &(index, _))| match gradient {
                Some(gradient) => gradient.cast(self.dtype),
                None => params[index].detach().zeros_like(),
            });
            let values: Vec<AnyTensor> = values.collect();
            return Ok(Moving::Device(communicator.all_reduce(&values, true)?));
        }
        let mut flat = Flat::new(self.dtype, self.len, spare);
        for (gradient, &(index, at)) in gradients.iter().zip(&self.members) {
            match gradient {
                Some(gradient) => flat.write(at, &gradient.cast(self.dtype))?,
                None => flat.clear(at, params[index].num_elements()),
            }
        }
        Ok(Moving::Host(flat.reduce(group)))
    }

    /// Gives `take` the mean of each member, as a tensor like its parameter, as soon as it is there.
    pub fn receive(
        &self,
        moving: Moving,
        params: &[AnyTensor],
        world: usize,
        spare: &mut Vec<Flat>,
        mut take: impl FnMut(usize, AnyTensor),
    ) -> Result<()> {
        let (values, on_host) = match moving {
            Moving::Host(sum) => (sum.wait()?.into_tensor()?, true),
            Moving::Device(mean) => (mean.finish()?, false),
        };
        for &(index, at) in &self.members {
            let param = &params[index];
            let part = values.narrow(0, at, param.num_elements()).reshape(param.shape());
            let gradient = if on_host { mean(&part, world) } else { part };
            take(index, gradient.cast(param.dtype()).to_device(&param.device())?);
        }
        if on_host {
            spare.push(Flat::of(values)?);
        }
        Ok(())
    }
}

/// The values of a bucket in host memory.
#[derive(Debug)]
pub(super) enum Flat {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Flat {
    /// With room for `len` values; in the memory of `spare` where that fits.
    fn new(dtype: DType, len: usize, spare: &mut Vec<Flat>) -> Self {
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
    fn write(&mut self, at: usize, values: &AnyTensor) -> Result<()> {
        let values = values.contiguous().to_device(&Device::cpu())?;
        let len = values.num_elements();
        match self {
            Flat::F32(flat) => flat[at..at + len].copy_from_slice(values.as_slice()?),
            Flat::F64(flat) => flat[at..at + len].copy_from_slice(values.as_slice()?),
        }
        Ok(())
    }

    /// Makes `len` values zero.
    fn clear(&mut self, at: usize, len: usize) {
        match self {
            Flat::F32(flat) => flat[at..at + len].fill(0.0),
            Flat::F64(flat) => flat[at..at + len].fill(0.0),
        }
    }

    /// Begins to add it up over all ranks.
    fn reduce(mut self, group: &ProcessGroup) -> Pending<Self> {
        group.begin(move |connection| {
            match &mut self {
                Flat::F32(values) => connection.all_reduce_f32(values)?,
                Flat::F64(values) => connection.all_reduce_f64(values)?,
            }
            Ok(self)
        })
    }

    /// The values as a tensor on the CPU, in the same memory.
    fn into_tensor(self) -> Result<AnyTensor> {
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
    fn of(tensor: AnyTensor) -> Result<Self> {
        Ok(match tensor.dtype() {
            DType::F64 => Flat::F64(tensor.into_vec()?),
            _ => Flat::F32(tensor.into_vec()?),
        })
    }
}
