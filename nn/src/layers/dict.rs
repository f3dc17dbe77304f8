//! Modules under names.

use std::ops::{Index, IndexMut};

use crate::module::{Module, Path, Visitor, VisitorMut};

/// Modules under names, in the order in which they were inserted: `torch.nn.ModuleDict`. The
/// modules of a list are a `Vec`.
///
/// ```
/// use kiln_nn::{LinearConfig, Module, ModuleDict};
/// use kiln_tensor::Device;
/// let mut heads = ModuleDict::new();
/// heads.insert("policy", LinearConfig::new(4, 2).init(&Device::cpu()));
/// heads.insert("value", LinearConfig::new(4, 1).init(&Device::cpu()));
/// assert_eq!(heads.state_dict().iter().next().unwrap().0, "policy.weight");
/// assert_eq!(heads["value"].weight.dims(), [1, 4]);
/// ```
#[derive(Clone, Debug)]
pub struct ModuleDict<M> {
    entries: Vec<(String, M)>,
}

impl<M> Default for ModuleDict<M> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<M> ModuleDict<M> {
    /// Without modules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a module under a name, and returns the one that was there. Panics if the name is empty
    /// or has a dot, which would make two paths look the same.
    #[track_caller]
    pub fn insert(&mut self, name: impl Into<String>, module: M) -> Option<M> {
        let name = name.into();
        if name.is_empty() || name.contains('.') {
            let rule = format!("a name must neither be empty nor have a dot, found {name:?}");
            kiln_tensor::fail(kiln_tensor::Error::Argument { op: "module_dict", rule });
        }
        match self.get_mut(&name) {
            Some(old) => Some(std::mem::replace(old, module)),
            None => {
                self.entries.push((name, module));
                None
            }
        }
    }

    /// Takes a module out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<M> {
        let at = self.entries.iter().position(|(other, _)| other == name)?;
        Some(self.entries.remove(at).1)
    }

    /// The module under a name.
    pub fn get(&self, name: &str) -> Option<&M> {
        self.iter().find(|(other, _)| *other == name).map(|(_, module)| module)
    }

    /// The module under a name.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut M> {
        self.iter_mut().find(|(other, _)| *other == name).map(|(_, module)| module)
    }

    /// Whether there is a module under a name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and modules in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &M)> {
        self.entries.iter().map(|(name, module)| (name.as_str(), module))
    }

    /// Names and modules in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut M)> {
        self.entries.iter_mut().map(|(name, module)| (name.as_str(), module))
    }

    /// The names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// The modules in order.
    pub fn values(&self) -> impl Iterator<Item = &M> {
        self.iter().map(|(_, module)| module)
    }

    /// The number of modules.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no modules.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The module under a name. Panics if there is none.
impl<M> Index<&str> for ModuleDict<M> {
    type Output = M;

    #[track_caller]
    fn index(&self, name: &str) -> &M {
        self.get(name).unwrap_or_else(|| panic!("no module is named {name:?}"))
    }
}

/// The module under a name. Panics if there is none.
impl<M> IndexMut<&str> for ModuleDict<M> {
    #[track_caller]
    fn index_mut(&mut self, name: &str) -> &mut M {
        self.get_mut(name).unwrap_or_else(|| panic!("no module is named {name:?}"))
    }
}

impl<S: Into<String>, M> FromIterator<(S, M)> for ModuleDict<M> {
    fn from_iter<I: IntoIterator<Item = (S, M)>>(entries: I) -> Self {
        let mut dict = Self::new();
        for (name, module) in entries {
            dict.insert(name, module);
        }
        dict
    }
}

impl<M: Module> Module for ModuleDict<M> {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        self.iter().for_each(|(name, module)| module.visit(&path.child(name), visitor));
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.iter_mut().for_each(|(name, module)| module.visit_mut(&path.child(name), visitor));
    }
}
