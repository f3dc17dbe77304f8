//! The terminal, taken for pictures and given back in every case: at the end, when an error or a
//! panic ends the training, and when it is interrupted.

use std::io::{IsTerminal, Stderr, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::{Frame, Terminal};

/// Whether the terminal is taken.
static OPEN: AtomicBool = AtomicBool::new(false);
/// Held while something is drawn, so that nothing is drawn after the terminal was given back.
static DRAWING: Mutex<()> = Mutex::new(());
/// How long is waited for that. A panic may come out of the drawing itself.
const PATIENCE: Duration = Duration::from_millis(200);

/// A terminal that is filled by pictures.
pub(super) struct Screen(Terminal<CrosstermBackend<Stderr>>);

/// Whether there is a terminal to draw on that nobody else draws on.
pub(in crate::train) fn is_possible() -> bool {
    let can_move = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    stderr().is_terminal() && can_move && !OPEN.load(Ordering::SeqCst)
}

impl Screen {
    /// Takes the terminal; `None` if it can not be had.
    pub fn open() -> Option<Self> {
        let terminal = Terminal::new(CrosstermBackend::new(stderr())).ok()?;
        if OPEN.swap(true, Ordering::SeqCst) {
            return None;
        }
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                leave();
                previous(info);
            }));
        });
        keys::mute();
        if execute!(stderr(), EnterAlternateScreen).is_err() {
            leave();
            return None;
        }
        Some(Self(terminal))
    }

    /// Whether it is still taken.
    pub fn is_open(&self) -> bool {
        OPEN.load(Ordering::SeqCst)
    }

    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) {
        let _drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_open() {
            // What can not be shown must not end a training.
            let _ = self.0.draw(picture);
        }
    }
}

/// Gives the terminal back as it was, if it is taken.
pub(in crate::train) fn leave() {
    let start = Instant::now();
    let _drawing = loop {
        match DRAWING.try_lock() {
            Ok(guard) => break Some(guard),
            Err(TryLockError::Poisoned(guard)) => break Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) if start.elapsed() > PATIENCE => break None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    if OPEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stderr(), LeaveAlternateScreen, Show);
        keys::restore();
    }
}

/// Keys do not show on the picture, and Ctrl-C stays the signal that it is.
#[cfg(unix)]
mod keys {
    use std::io::stdin;
    use std::sync::{Mutex, PoisonError};

    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };

    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub fn mute() {
        // Standard input may be a file.
        let Ok(before) = tcgetattr(stdin()) else { return };
        let mut muted = before.clone();
        muted.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        // A program that is suspended could not give the terminal back.
        muted.special_codes[SpecialCodeIndex::VSUSP] = 0;
        if tcsetattr(stdin(), OptionalActions::Now, &muted).is_ok() {
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        }
    }

    pub fn restore() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // What was typed meanwhile was meant for nobody.
            let _ = tcsetattr(stdin(), OptionalActions::Flush, &before);
        }
    }
}

#[cfg(not(unix))]
mod keys {
    pub fn mute() {}
    pub fn restore() {}
}
