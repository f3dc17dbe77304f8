//! A group of processes, as one of them sees it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use kiln_tensor::{AnyTensor, DType, Error, Kind, OrFail, Result, Tensor, TensorData};

use super::collective::{Collective, ReduceOp};
use super::group_error;
use super::rendezvous::TcpConfig;

/// The processes that train together, as one of them sees it: `torch.distributed`. Cloning it gives
/// another handle.
///
/// All ranks must call the same operations in the same order, with tensors of the same shapes and
/// dtypes; anything else is an `Err` on all of them. The operations run one after the other on a
/// thread of the group.
#[derive(Clone)]
pub struct ProcessGroup(Arc<Shared>);

struct Shared {
    rank: usize,
    world_size: usize,
    // Dropped to end the thread.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Something to do with the connection, or with the error that ended it; it gives the error that
/// does.
type Job = Box<dyn FnOnce(Result<&mut dyn Collective>) -> Option<Error> + Send>;

/// The result of an operation that was begun.
pub(super) struct Pending<T>(Receiver<Result<T>>);

impl<T> Pending<T> {
    /// Waits for the operation.
    pub fn wait(self) -> Result<T> {
        let gone = || group_error("process group", "the thread of the group panicked");
        self.0.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl ProcessGroup {
    /// A group that is connected by what `connect` makes, on the thread where it will be used.
    pub fn new(
        connect: impl FnOnce() -> Result<Box<dyn Collective>> + Send + 'static,
    ) -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (sender, connected) = channel();
        let work = move || {
            let mut connection = match connect() {
                Ok(connection) => connection,
                Err(error) => return drop(sender.send(Err(error))),
            };
            let place = (connection.rank(), connection.world_size());
            if sender.send(Ok(place)).is_err() {
                return;
            }
            let mut failed = None;
            for job in &queue {
                failed = job(Ok(&mut *connection));
                if failed.is_some() {
                    break;
                }
            }
            // The other ranks see that this one gave up.
            drop(connection);
            let Some(error) = failed else { return };
            for job in queue {
                job(Err(error.clone()));
            }
        };
        let thread = thread::Builder::new().name("kiln-dist".into()).spawn(work);
        let thread = thread.map_err(|error| {
            group_error("process group", format!("no thread can be started ({error})"))
        })?;
        let (rank, world_size) = Pending(connected).wait()?;
        Ok(Self(Arc::new(Shared { rank, world_size, jobs: Some(jobs), thread: Some(thread) })))
    }

    /// The group that the environment variables tell of, see [`TcpConfig::from_env`].
    pub fn from_env() -> Result<Self> {
        TcpConfig::from_env()?.init()
    }

    /// The processes that `mpirun` started, over MPI; a single one without it. Once in a process.
    #[cfg(feature = "mpi")]
    pub fn mpi() -> Result<Self> {
        Self::new(|| Ok(Box::new(super::mpi::Mpi::new()?)))
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.0.rank
    }

    /// How many processes there are.
    pub fn world_size(&self) -> usize {
        self.0.world_size
    }

    /// Begins an operation, after those that were begun before.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Collective) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (sender, result) = channel();
        let job: Job = Box::new(move |connection| {
            let result = connection.and_then(work);
            let error = result.as_ref().err().cloned();
            // Nobody may wait any more.
            let _ = sender.send(result);
            error
        });
        let jobs = self.0.jobs.as_ref().expect("it is dropped last");
        // If the thread is gone, so is `sender`, and `wait` says so.
        let _ = jobs.send(job);
        Pending(result)
    }

    /// The sum or the mean of a tensor over all ranks, on each of them, with the same bits:
    /// `torch.distributed.all_reduce`. Half types are added up in f32 and rounded once. No gradient
    /// flows through it.
    pub fn all_reduce<const D: usize>(
        &self,
        tensor: &Tensor<D>,
        op: ReduceOp,
    ) -> Result<Tensor<D>> {
        let tensor = tensor.as_any().detach();
        let wide = tensor.cast(sum_dtype(tensor.dtype()));
        let data = self.begin(move |connection| {
            let mut data = wide.to_data()?;
            match data.dtype() {
                DType::F64 => connection.all_reduce_f64(data.as_mut_slice()?)?,
                _ => connection.all_reduce_f32(data.as_mut_slice()?)?,
            }
            Ok(data)
        });
        let sum = AnyTensor::from_owned_data(data.wait()?, &tensor.device())?;
        let result = match op {
            ReduceOp::Sum => sum,
            ReduceOp::Mean => mean(&sum, self.world_size()),
        };
        Ok(Tensor::from_any(result.cast(tensor.dtype())))
    }

    /// The sum of each number over all ranks: to count what all of them saw.
    pub fn sum(&self, numbers: &[f64]) -> Result<Vec<f64>> {
        let mut numbers = numbers.to_vec();
        let sums = self.begin(move |connection| {
            connection.all_reduce_f64(&mut numbers)?;
            Ok(numbers)
        });
        sums.wait()
    }

    /// The tensor of the rank `root`, on all of them: `torch.distributed.broadcast`. Those of the
    /// others tell its shape and dtype. Panics if there is no such rank.
    #[track_caller]
    pub fn broadcast<const D: usize, K: Kind>(
        &self,
        tensor: &Tensor<D, K>,
        root: usize,
    ) -> Result<Tensor<D, K>> {
        self.broadcast_any(tensor.as_any(), root).map(Tensor::from_any)
    }

    #[track_caller]
    pub(super) fn broadcast_any(&self, tensor: &AnyTensor, root: usize) -> Result<AnyTensor> {
        if root >= self.world_size() {
            let rule = format!("there is no rank {root} among {}", self.world_size());
            Err(Error::Argument { op: "broadcast", rule }).or_fail()
        }
        let (meta, device) = (tensor.meta(), tensor.device());
        let mut bytes = tensor.to_data()?.bytes().to_vec();
        let bytes = self.begin(move |connection| {
            connection.broadcast(&mut bytes, root)?;
            Ok(bytes)
        });
        let data = TensorData::from_bytes(bytes.wait()?, meta.shape, meta.dtype)?;
        AnyTensor::from_owned_data(data, &device)
    }

    /// The tensors of all ranks, in the order of ranks: `torch.distributed.all_gather`. All have the
    /// same shape and dtype.
    pub fn all_gather<const D: usize, K: Kind>(
        &self,
        tensor: &Tensor<D, K>,
    ) -> Result<Vec<Tensor<D, K>>> {
        let (meta, device) = (tensor.as_any().meta(), tensor.device());
        let all = self.all_gather_bytes(tensor.as_any().to_data()?.bytes())?;
        let tensors = all.into_iter().enumerate().map(|(rank, bytes)| {
            let data = TensorData::from_bytes(bytes, meta.shape, meta.dtype)
                .map_err(|error| group_error("all_gather", format!("rank {rank}: {error}")))?;
            AnyTensor::from_owned_data(data, &device).map(Tensor::from_any)
        });
        tensors.collect()
    }

    /// The bytes of all ranks, in the order of ranks: up to 256 MiB of each, and not all need have
    /// the same number.
    pub fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let bytes = bytes.to_vec();
        self.begin(move |connection| connection.all_gather(&bytes)).wait()
    }

    /// Waits until all ranks are here.
    pub fn barrier(&self) -> Result<()> {
        self.all_gather_bytes(&[]).map(drop)
    }
}

impl std::fmt::Debug for ProcessGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProcessGroup(rank {} of {})", self.rank(), self.world_size())
    }
}

impl Drop for Shared {
    /// Waits for the operations that were begun.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it was told by `wait`.
            let _ = thread.join();
        }
    }
}

/// The dtype in which values of `dtype` are added up.
pub(super) fn sum_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The mean of `count` values, given their sum.
pub(super) fn mean(sum: &AnyTensor, count: usize) -> AnyTensor {
    sum.binary_scalar(kiln_tensor::op::BinaryKind::Div, count as f64)
}
