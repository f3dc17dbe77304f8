//! Work that is recorded and started together, as a graph, instead of kernel by kernel.
//!
//! A recording takes starts of kernels and nothing else. Whatever else happens on the device, such as
//! a copy, a wait or an allocation, first starts what was recorded so far, and what follows is a new
//! piece of the recording. So everything is done in the order of the calls, as without a recording.
//!
//! The host runs the work each time, and each time its kernels are recorded anew, with the numbers,
//! seeds and addresses of this time. The graphs of the last time are only changed to that, as long
//! as the kernels are the same ones in the same order; where they are not, as after a change of
//! shapes, new graphs are made.

/// What records: the stream of a GPU, or in tests a list.
pub(crate) trait Records {
    /// What starts a recording.
    type Graph;
    type Error;
    /// Records the kernels that are started from now on, instead of starting them.
    fn begin(&mut self) -> Result<(), Self::Error>;
    /// Ends the recording and starts what is in it, if anything is. `graph` started what stood in its
    /// place the last time; it is changed to this recording, or replaced where it can not be.
    fn start(&mut self, graph: &mut Option<Self::Graph>) -> Result<(), Self::Error>;
}

/// The recording of a piece of work: between runs the graphs of its last one.
#[derive(Debug)]
pub(crate) struct Recorder<G> {
    /// One for each piece between two things that can not be recorded.
    graphs: Vec<Option<G>>,
    /// The piece that is recorded now.
    piece: usize,
    is_recording: bool,
}

impl<G> Default for Recorder<G> {
    fn default() -> Self {
        Self { graphs: Vec::new(), piece: 0, is_recording: false }
    }
}

impl<G> Recorder<G> {
    /// Starts a run of the work.
    pub fn begin<E>(&mut self, on: &mut impl Records<Graph = G, Error = E>) -> Result<(), E> {
        self.piece = 0;
        on.begin()?;
        self.is_recording = true;
        Ok(())
    }

    /// Does what can not be recorded, in its place.
    pub fn outside<T, E>(
        &mut self,
        on: &mut impl Records<Graph = G, Error = E>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.start(on)?;
        let result = work()?;
        on.begin()?;
        self.is_recording = true;
        Ok(result)
    }

    /// Ends the run. What belongs to pieces that it did not come to is forgotten.
    pub fn end<E>(&mut self, on: &mut impl Records<Graph = G, Error = E>) -> Result<(), E> {
        let result = self.start(on);
        self.graphs.truncate(self.piece);
        result
    }

    fn start<E>(&mut self, on: &mut impl Records<Graph = G, Error = E>) -> Result<(), E> {
        // Nothing is recorded after an error: kernels are started as they come.
        if !std::mem::take(&mut self.is_recording) {
            return Ok(());
        }
        if self.graphs.len() == self.piece {
            self.graphs.push(None);
        }
        self.piece += 1;
        on.start(&mut self.graphs[self.piece - 1])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stream that does what a GPU's does: kernels and other things in the order in which they
    /// are started.
    #[derive(Default)]
    struct Stream {
        recorded: Option<Vec<u32>>,
        done: Vec<u32>,
        changed: usize,
        made: usize,
        /// Fails at this many calls from now.
        fails_after: Option<usize>,
    }

    /// A kernel's number says which one it is, by its rest by 10, and what its arguments are.
    type Graph = Vec<u32>;

    impl Stream {
        fn kernel(&mut self, number: u32) {
            self.recorded.as_mut().unwrap_or(&mut self.done).push(number);
        }

        fn fail(&mut self) -> Result<(), String> {
            match &mut self.fails_after {
                Some(0) => Err("the driver".into()),
                Some(calls) => {
                    *calls -= 1;
                    Ok(())
                }
                None => Ok(()),
            }
        }
    }

    impl Records for Stream {
        type Graph = Graph;
        type Error = String;

        fn begin(&mut self) -> Result<(), String> {
            self.fail()?;
            assert!(self.recorded.replace(Vec::new()).is_none(), "it records already");
            Ok(())
        }

        fn start(&mut self, graph: &mut Option<Graph>) -> Result<(), String> {
            let recorded = self.recorded.take().expect("it records");
            self.fail()?;
            let same = |old: &Graph| {
                old.iter().map(|kernel| kernel % 10).eq(recorded.iter().map(|kernel| kernel % 10))
            };
            if recorded.is_empty() {
                return Ok(());
            }
            match graph.as_ref().is_some_and(same) {
                true => self.changed += 1,
                false => self.made += 1,
            }
            self.done.extend(&recorded);
            *graph = Some(recorded);
            Ok(())
        }
    }

    /// A kernel, or what can not be recorded.
    type Step = (bool, u32);

    fn run(recorder: &mut Recorder<Graph>, on: &mut Stream, steps: &[Step]) -> Result<(), String> {
        recorder.begin(on)?;
        for &(is_kernel, number) in steps {
            if is_kernel {
                on.kernel(number);
            } else {
                recorder.outside(on, || Ok(()))?;
                on.done.push(number);
            }
        }
        recorder.end(on)
    }

    #[test]
    fn a_second_run_changes_the_graphs_of_the_first() {
        let (mut recorder, mut stream) = (Recorder::default(), Stream::default());
        let work = [(true, 1), (true, 2), (false, 3), (true, 4)];
        run(&mut recorder, &mut stream, &work).unwrap();
        assert_eq!((stream.made, stream.changed), (2, 0));
        // The same kernels with other arguments.
        run(&mut recorder, &mut stream, &work.map(|(kind, number)| (kind, number + 10))).unwrap();
        assert_eq!((stream.made, stream.changed), (2, 2));
        assert_eq!(stream.done, [1, 2, 3, 4, 11, 12, 13, 14]);
        // Another kernel in the first piece, as after a change of shapes, and no second one.
        run(&mut recorder, &mut stream, &[(true, 1), (true, 5)]).unwrap();
        assert_eq!((stream.made, stream.changed, recorder.graphs.len()), (3, 2, 1));
        // Nothing to start is no graph.
        run(&mut recorder, &mut stream, &[(false, 7), (false, 8)]).unwrap();
        assert_eq!((stream.made, stream.changed), (3, 2));
    }

    proptest! {
        /// Whatever is recorded, and however runs differ, all happens in the order of the calls.
        #[test]
        fn a_recording_changes_no_order(
            runs in proptest::collection::vec(
                proptest::collection::vec((any::<bool>(), 0u32..50), 0..12), 1..6,
            ),
        ) {
            let (mut recorder, mut stream) = (Recorder::default(), Stream::default());
            let mut expected = Vec::new();
            for steps in &runs {
                prop_assert_eq!(run(&mut recorder, &mut stream, steps), Ok(()));
                expected.extend(steps.iter().map(|&(_, number)| number));
                prop_assert_eq!(&stream.done, &expected);
                prop_assert!(stream.recorded.is_none());
                let pieces = 1 + steps.iter().filter(|(is_kernel, _)| !is_kernel).count();
                prop_assert_eq!(recorder.graphs.len(), pieces);
            }
        }

        /// A failure is reported once, and ends the recording: whoever goes on is not recorded.
        #[test]
        fn after_a_failure_nothing_is_recorded(
            steps in proptest::collection::vec((any::<bool>(), 0u32..50), 0..12),
            calls in 0usize..20,
        ) {
            let mut stream = Stream { fails_after: Some(calls), ..Stream::default() };
            let mut recorder = Recorder::default();
            let result = run(&mut recorder, &mut stream, &steps);
            let outside = steps.iter().filter(|(is_kernel, _)| !is_kernel).count();
            prop_assert_eq!(result.is_err(), calls < 2 + 2 * outside);
            if result.is_err() {
                prop_assert!(stream.recorded.is_none());
                stream.fails_after = None;
                prop_assert_eq!(recorder.end(&mut stream), Ok(()));
                prop_assert_eq!(run(&mut recorder, &mut stream, &steps), Ok(()));
            }
        }
    }
}
