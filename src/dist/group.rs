//! A group of processes, as one of them sees it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiln_tensor::{AnyTensor, DType, Device, Error, Kind, OrFail, Result, Tensor, TensorData};

use super::collective::{Collective, ReduceOp};
use super::group_error;
use super::nccl::{Communicator, connect};
use super::rendezvous::TcpConfig;

/// How long GPUs may go on together after the group failed: with what all ranks had begun.
const GRACE: Duration = Duration::from_secs(5);

/// The processes that train together, as one of them sees it: `torch.distributed`. Cloning it gives
/// another handle.
///
/// All ranks must call the same operations in the same order, with tensors of the same shapes and
/// dtypes; anything else is an `Err` on all of them. The operations run one after the other on a
/// thread of the group; of tensors on GPUs, on the GPUs, by NCCL.
#[derive(Clone)]
pub struct ProcessGroup(Arc<Shared>);

struct Shared {
    rank: usize,
    world_size: usize,
    // Dropped to end the thread.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    timeout: Duration,
    /// Those of the GPUs whose tensors were brought together so far; none for other devices. Dropped
    /// after the thread, which waits for them.
    communicators: Mutex<Vec<(Device, Option<Arc<Communicator>>)>>,
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
            let place = (connection.rank(), connection.world_size(), connection.timeout());
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
        let (rank, world_size, timeout) = Pending(connected).wait()?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        let communicators = Mutex::default();
        Ok(Self(Arc::new(Shared { rank, world_size, jobs, thread, timeout, communicators })))
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

    /// The number of this process among those of its machine, from 0, and so that of its GPU:
    /// `LOCAL_RANK`, which launchers for PyTorch set, or else the rank.
    pub fn local_rank(&self) -> usize {
        let variable = std::env::var("LOCAL_RANK").ok();
        variable.and_then(|text| text.parse().ok()).unwrap_or(self.rank())
    }

    /// How long an operation may wait for another rank.
    pub(super) fn timeout(&self) -> Duration {
        self.0.timeout
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
        self.queue(job);
        Pending(result)
    }

    fn queue(&self, job: Job) {
        let jobs = self.0.jobs.as_ref().expect("it is dropped last");
        // If the thread is gone, so is what the job would answer to, and who waits for it sees that.
        let _ = jobs.send(job);
    }

    /// What brings tensors of a device together without host memory, if they are on a GPU. All ranks
    /// ask for it at the same time.
    pub(super) fn communicator(&self, device: &Device) -> Result<Option<Arc<Communicator>>> {
        let mut known = self.0.communicators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, communicator)) = known.iter().find(|(known, _)| known == device) {
            return Ok(communicator.clone());
        }
        let communicator = connect(self, device)?.map(Arc::new);
        known.push((*device, communicator.clone()));
        Ok(communicator)
    }

    /// Begins to make sure that all ranks are about to do the same thing.
    pub(super) fn agree(&self, what: String) -> Pending<()> {
        self.begin(move |connection| {
            let all = connection.all_gather(what.as_bytes())?;
            match all.iter().position(|other| *other != what.as_bytes()) {
                None => Ok(()),
                Some(rank) => {
                    let other = String::from_utf8_lossy(&all[rank]);
                    let rule = "all ranks must call the same operations in the same order";
                    let what = format!("rank {rank} calls {other}, this one {what}: {rule}");
                    Err(group_error("process group", what))
                }
            }
        })
    }

    /// Lets the thread of the group wait until the GPUs have done what was begun, before anything
    /// else that it is asked to do. An error is that of what comes next, in the group or on the GPU.
    pub(super) fn guard(&self) {
        let known = self.0.communicators.lock().unwrap_or_else(PoisonError::into_inner);
        let timeout = self.timeout();
        for communicator in known.iter().filter_map(|(_, communicator)| communicator.clone()) {
            self.queue(Box::new(move |connection| {
                communicator.wait(connection.map_or(GRACE, |_| timeout)).err()
            }));
        }
    }

    /// The sum or the mean of a tensor over all ranks, on each of them, with the same bits:
    /// `torch.distributed.all_reduce`. Half types are added up in f32 and rounded once; by NCCL, for
    /// tensors on GPUs, as they are. No gradient flows through it.
    pub fn all_reduce<const D: usize>(
        &self,
        tensor: &Tensor<D>,
        op: ReduceOp,
    ) -> Result<Tensor<D>> {
        let tensor = tensor.as_any().detach();
        if let Some(communicator) = self.communicator(&tensor.device())? {
            let (shape, dtype) = (tensor.shape(), tensor.dtype());
            self.agree(format!("{op:?} of {shape:?} {dtype}")).wait()?;
            let is_mean = op == ReduceOp::Mean;
            let result = communicator.all_reduce(std::slice::from_ref(&tensor), is_mean)?;
            self.guard();
            return Ok(Tensor::from_any(result.finish()?.reshape(tensor.shape())));
        }
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
        self.begin_sum(numbers.to_vec()).wait()
    }

    pub(super) fn begin_sum(&self, mut numbers: Vec<f64>) -> Pending<Vec<f64>> {
        self.begin(move |connection| {
            connection.all_reduce_f64(&mut numbers)?;
            Ok(numbers)
        })
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
        if let Some(communicator) = self.communicator(&device)? {
            let what = format!("broadcast of {:?} {} from rank {root}", meta.shape, meta.dtype);
            self.agree(what).wait()?;
            let result = communicator.broadcast(&tensor.detach(), root)?;
            self.guard();
            return result.finish();
        }
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
