//! Recordings of the stream of a GPU, as graphs.

use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;
use std::sync::PoisonError;

use kiln_tensor::{Error, Result};

use super::{Device, Handle, handle};
use crate::recorder::{Recorder, Records};

/// CU_STREAM_CAPTURE_MODE_RELAXED: threads that share the stream may end what another began.
const RELAXED: c_uint = 2;

/// A graph that can be started.
#[derive(Debug)]
pub(crate) struct Graph {
    // A handle as a number, which any thread may use.
    graph: usize,
    destroy: unsafe extern "C" fn(Handle) -> c_int,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle; the driver keeps what runs until it is done.
        unsafe { (self.destroy)(handle(self.graph)) };
    }
}

/// What was recorded, and is destroyed once it is made a [`Graph`].
struct Recorded<'a> {
    device: &'a Device,
    graph: Handle,
}

impl Drop for Recorded<'_> {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle.
        let _ =
            self.device.call("cuGraphDestroy", |api, _| unsafe { (api.graph_destroy)(self.graph) });
    }
}

impl Recorded<'_> {
    /// How many kernels there are.
    fn len(&self) -> Result<usize> {
        let mut nodes = 0;
        // SAFETY: without room for nodes, the call writes their number.
        self.device.call("cuGraphGetNodes", |api, _| unsafe {
            (api.graph_nodes)(self.graph, null_mut(), &mut nodes)
        })?;
        Ok(nodes)
    }

    /// Makes `graph` start this one; false where its kernels are other ones.
    fn update(&self, graph: &Graph) -> bool {
        // Where it can not, and why: an enumeration and two handles.
        let mut info = [0usize; 3];
        let updated = self.device.call("cuGraphExecUpdate", |api, _| {
            // SAFETY: both graphs live; the call writes as much as there is room for.
            unsafe { (api.graph_update)(handle(graph.graph), self.graph, info.as_mut_ptr().cast()) }
        });
        updated.is_ok()
    }

    fn instantiate(&self) -> Result<Graph> {
        let mut graph = null_mut();
        // SAFETY: the call writes one handle.
        self.device.call("cuGraphInstantiate", |api, _| unsafe {
            (api.graph_instantiate)(&mut graph, self.graph, 0)
        })?;
        Ok(Graph { graph: graph.addr(), destroy: self.device.api.graph_exec_destroy })
    }
}

impl Records for &Device {
    type Graph = Graph;
    type Error = Error;

    fn begin(&mut self) -> Result<()> {
        // SAFETY: the stream lives as long as the device.
        self.call("cuStreamBeginCapture", |api, stream| unsafe {
            (api.capture_begin)(stream, RELAXED)
        })
    }

    fn start(&mut self, graph: &mut Option<Graph>) -> Result<()> {
        let mut recorded = null_mut();
        // SAFETY: the call writes one handle.
        self.call("cuStreamEndCapture", |api, stream| unsafe {
            (api.capture_end)(stream, &mut recorded)
        })?;
        let recorded = Recorded { device: self, graph: recorded };
        if recorded.len()? == 0 {
            return Ok(());
        }
        let graph = match graph.take().filter(|graph| recorded.update(graph)) {
            Some(updated) => graph.insert(updated),
            None => graph.insert(recorded.instantiate()?),
        };
        // SAFETY: the graph was made of kernels of this device, whose arguments were the care of
        // whoever started them.
        self.call("cuGraphLaunch", |api, stream| unsafe {
            (api.graph_launch)(handle(graph.graph), stream)
        })
    }
}

impl Device {
    /// Runs `work` with the kernels that it starts recorded, and started together. While one thread
    /// records, what others start is recorded too, and their runs are part of its own.
    pub fn record<T>(&self, recorder: &mut Recorder<Graph>, work: impl FnOnce() -> T) -> Result<T> {
        let mut current = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_some() {
            drop(current);
            return Ok(work());
        }
        let mut new = std::mem::take(recorder);
        new.begin(&mut &*self)?;
        *current = Some(new);
        drop(current);
        let mut run = Run { device: self, recorder };
        let result = work();
        run.end()?;
        Ok(result)
    }

    /// Does what can not be recorded.
    pub fn outside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *recording {
            Some(recorder) => recorder.outside(&mut &*self, work),
            None => {
                drop(recording);
                work()
            }
        }
    }

    /// The same for what does not wait: meanwhile no other thread begins to record. An event of a
    /// recording would pull the stream that waits for it into the recording.
    pub fn between<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *recording {
            Some(recorder) => recorder.outside(&mut &*self, work),
            None => work(),
        }
    }
}

/// Ends a recording, also where the work panics.
struct Run<'a> {
    device: &'a Device,
    recorder: &'a mut Recorder<Graph>,
}

impl Run<'_> {
    fn end(&mut self) -> Result<()> {
        let current = &self.device.recording;
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut recorder) = current.take() else { return Ok(()) };
        let ended = recorder.end(&mut &*self.device);
        *self.recorder = recorder;
        ended
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // A failure of the device is that of whatever comes next, too.
        let _ = self.end();
    }
}
