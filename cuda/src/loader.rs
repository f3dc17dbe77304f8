//! Where NVIDIA's libraries lie when the system's search path does not name them.
//!
//! The bindings open a library by its bare name. One that was opened before by its path is found
//! under that name again, so opening the right file first is all it takes: no LD_LIBRARY_PATH.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Libraries by the order in which they must be opened: each after those that it needs.
const STEMS: [&str; 3] = ["nvrtc-builtins", "nvrtc", "cublasLt"];

/// What the search found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    /// The folders looked into, in this order; only those that exist.
    pub folders: Vec<PathBuf>,
    /// The file of each library, from the first folder that has it.
    pub files: Vec<PathBuf>,
}

/// Searches and opens what is found, once for the process.
pub(crate) fn load() -> &'static Search {
    static DONE: OnceLock<Search> = OnceLock::new();
    DONE.get_or_init(|| {
        let search = Search::new(|name| std::env::var_os(name));
        search.files.iter().for_each(|file| open(file));
        search
    })
}

impl Search {
    /// Searches in the folders that the environment names.
    fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let folders = folders(variable);
        let find = |stem| folders.iter().find_map(|folder| library_in(folder, stem));
        let files = STEMS.into_iter().filter_map(find).collect();
        Self { folders, files }
    }
}

/// Opens a library that few need: of the file in the folders, or of these names. `None` if there is
/// none that can be opened.
pub(crate) fn open_first(stem: &str, names: &[&str]) -> Option<libloading::Library> {
    let found = load().folders.iter().find_map(|folder| library_in(folder, stem));
    let files = found.into_iter().chain(names.iter().map(PathBuf::from));
    // SAFETY: these are NVIDIA's libraries, whose initializers have no preconditions.
    files.into_iter().find_map(|file| unsafe { libloading::Library::new(file) }.ok())
}

/// The folders that may hold the libraries, the most explicit first.
fn folders(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut folders: Vec<PathBuf> =
        variable("KILN_CUDA_LIB").iter().flat_map(|list| std::env::split_paths(list)).collect();
    folders.extend(path("CUDA_PATH").map(|root| root.join("lib64")));
    folders.push("/usr/local/cuda/lib64".into());
    // The wheels of `nvidia-*` lie beside the packages of Python: of the active environment, of
    // the `python3` that would run, of the system, of the user.
    let python = variable("PATH").and_then(|path| {
        let has_python = |folder: &PathBuf| folder.join("python3").exists();
        std::env::split_paths(&path).find(has_python)?.parent().map(Path::to_path_buf)
    });
    let user = path("HOME").map(|home| home.join(".local"));
    let roots =
        [path("VIRTUAL_ENV"), path("CONDA_PREFIX"), python, Some("/usr/local".into()), user];
    for root in roots.into_iter().flatten() {
        folders.extend(wheels(&root));
    }
    let mut seen = Vec::new();
    folders.retain(|folder| {
        let new = folder.is_dir() && !seen.contains(folder);
        seen.extend(new.then(|| folder.clone()));
        new
    });
    folders
}

/// `ROOT/lib/python3*/{site,dist}-packages/nvidia/*/lib`.
fn wheels(root: &Path) -> Vec<PathBuf> {
    let pythons = entries(&root.join("lib")).into_iter().filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"))
    });
    pythons
        .flat_map(|python| ["site-packages", "dist-packages"].map(|kind| python.join(kind)))
        .flat_map(|packages| entries(&packages.join("nvidia")))
        .map(|package| package.join("lib"))
        .collect()
}

/// The file of a library in a folder: `libSTEM.so`, or with a version behind it.
fn library_in(folder: &Path, stem: &str) -> Option<PathBuf> {
    let name = format!("lib{stem}.so");
    entries(folder).into_iter().find(|path| {
        let file = path.file_name().map(|file| file.to_string_lossy()).unwrap_or_default();
        file.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// What lies in a folder, by name; nothing if it can not be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Opens a library for the rest of the process. One that can not be opened is left to the error of
/// who needs it.
#[cfg(unix)]
fn open(file: &Path) {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: these are NVIDIA's libraries, whose initializers have no preconditions.
    if let Ok(library) = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) } {
        std::mem::forget(library);
    }
}

#[cfg(not(unix))]
fn open(_: &Path) {}

/// The files from which the process has loaded a library: what the system says, whoever loaded it.
pub(crate) fn mapped(stem: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let name = format!("/lib{stem}.so");
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .find(|path| path.contains(&name))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for a test, gone afterwards.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kiln-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Self(path)
        }

        fn file(&self, path: &str) -> PathBuf {
            let path = self.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_most_explicit_folder_wins_and_builtins_come_first() {
        let root = Scratch::new("loader");
        let wheel = "venv/lib/python3.12/site-packages/nvidia/cu13/lib";
        let builtins = root.file(&format!("{wheel}/libnvrtc-builtins.so.13.0"));
        let from_wheel = root.file(&format!("{wheel}/libnvrtc.so.13"));
        let blas = root.file(&format!("{wheel}/libcublasLt.so.13"));
        let environment = |explicit: bool| {
            let (own, venv) = (root.0.join("own"), root.0.join("venv"));
            move |name: &str| match name {
                "KILN_CUDA_LIB" if explicit => Some(own.clone().into()),
                "VIRTUAL_ENV" => Some(venv.clone().into()),
                _ => None,
            }
        };
        let found = Search::new(environment(false));
        assert!(found.folders.contains(&root.0.join(wheel)), "{found:?}");
        if !Path::new("/usr/local/cuda/lib64").exists() {
            assert_eq!(found.files, [builtins.clone(), from_wheel, blas.clone()]);
        }
        let own = root.file("own/libnvrtc.so");
        let found = Search::new(environment(true));
        assert_eq!(found.folders[0], root.0.join("own"));
        assert!(found.files.contains(&own) && found.files.contains(&blas), "{found:?}");
    }

    #[test]
    fn the_python_on_the_path_names_a_folder() {
        let root = Scratch::new("python");
        root.file("bin/python3");
        let nvrtc = root.file("lib/python3.11/dist-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
        root.file("lib/python3.11/dist-packages/nvidia/cuda_nvrtc/lib/libnvrtcX.so");
        let bin = root.0.join("bin");
        let found = folders(|name| (name == "PATH").then(|| bin.clone().into()));
        assert!(found.contains(&nvrtc.parent().unwrap().to_path_buf()), "{found:?}");
        assert_eq!(library_in(nvrtc.parent().unwrap(), "nvrtc"), Some(nvrtc));
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let empty = Search::new(|_| None);
        assert!(empty.folders.iter().all(|folder| folder.is_dir()));
        assert_eq!(library_in(Path::new("/nowhere"), "nvrtc"), None);
        assert_eq!(mapped("no-such-library"), None);
    }
}
