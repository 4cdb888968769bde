//! What the expressions of a mapping read of a document, found in one pass over its text.

use crate::text::{Broken, Reader, Type, is_name};

/// The members that the expressions of a mapping read: a tree of names.
#[derive(Debug)]
pub struct PathTree {
    nodes: Vec<Node>,
}

/// The name of a member on the way to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Name {
    /// Its own name.
    pub text: String,
    /// Another name that it may have.
    pub alias: Option<String>,
}

impl Name {
    /// The names of a path.
    pub fn path(path: &[String]) -> Vec<Self> {
        path.iter().map(|name| Self { text: name.clone(), alias: None }).collect()
    }

    /// Whether both stand for the same member.
    pub fn is(&self, other: &Self) -> bool {
        self.text == other.text
            || self.alias.as_ref() == Some(&other.text)
            || other.alias.as_ref() == Some(&self.text)
    }
}

/// One path of [`PathTree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

#[derive(Debug, Default)]
struct Node {
    name: String,
    /// Another name of it, which counts where there is none of its own.
    alias: Option<String>,
    children: Vec<usize>,
    /// Bits of the children's names: they rule out most members that are no child.
    known: NameSet,
    /// Whether an expression reads the value itself, not only members of it.
    wanted: bool,
    /// Whether it, or a member of it, must be in [`PathTree::pruned`].
    kept: bool,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State<'a> {
    /// Nothing: JQ takes it for null.
    #[default]
    Missing,
    /// This value.
    Text(&'a str),
    /// An object of which only members are wanted.
    Object,
    /// A value on the way to it can have no members: looking it up is an error.
    Blocked,
}

/// What was found in a document.
#[derive(Debug, Default)]
pub struct Found<'a> {
    states: Vec<State<'a>>,
}

impl<'a> Found<'a> {
    /// What stands at a path.
    pub fn state(&self, slot: Slot) -> State<'a> {
        self.states.get(slot.0).copied().unwrap_or_default()
    }
}

/// For what is found elsewhere than in the text of one document; see [`Parsed::place_at`](crate::Parsed::place_at).
impl<'a> FromIterator<State<'a>> for Found<'a> {
    fn from_iter<I: IntoIterator<Item = State<'a>>>(states: I) -> Self {
        Self { states: states.into_iter().collect() }
    }
}

impl Slot {
    /// The path of the state at this position of a [`Found`] that is made of states.
    pub fn at(position: usize) -> Self {
        Self(position)
    }
}

impl Default for PathTree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl PathTree {
    /// Adds a path, so that it is found.
    pub(crate) fn add<K: AsRef<str>>(&mut self, path: &[K]) -> Slot {
        let slot = self.place(path, false);
        self.nodes[slot.0].wanted = true;
        slot
    }

    /// Adds a path of which only is asked whether it is there, and whether it is an object: where members of it are
    /// read as well, its text is not looked for.
    pub(crate) fn add_way<K: AsRef<str>>(&mut self, path: &[K]) -> Slot {
        self.place(path, false)
    }

    /// Adds a path whose names may have others.
    pub(crate) fn add_named(&mut self, path: &[Name]) -> Slot {
        let (mut at, mut names) = (Slot(0), Vec::new());
        for name in path {
            // A member that is read by its other name already stays under that.
            let other = name.alias.as_ref().filter(|other| {
                self.nodes[at.0].children.iter().any(|child| self.nodes[*child].name == **other)
            });
            names.push(other.unwrap_or(&name.text));
            at = self.place(&names, false);
            let (node, other) =
                (&mut self.nodes[at.0], if other.is_some() { Some(&name.text) } else { name.alias.as_ref() });
            if other.is_some() {
                node.alias = other.cloned();
            }
        }
        self.nodes[at.0].wanted = true;
        at
    }

    /// Adds a path that is in [`pruned`](Self::pruned) documents.
    pub fn keep<K: AsRef<str>>(&mut self, path: &[K]) {
        let slot = self.place(path, true);
        self.nodes[slot.0].wanted = true;
    }

    fn place<K: AsRef<str>>(&mut self, path: &[K], kept: bool) -> Slot {
        let mut at = 0;
        self.nodes[0].kept |= kept;
        for name in path {
            let name = name.as_ref();
            let is = |node: &Node| node.name == name || node.alias.as_deref() == Some(name);
            let known = self.nodes[at].children.iter().find(|child| is(&self.nodes[**child]));
            let child = known.copied().unwrap_or(self.nodes.len());
            if child == self.nodes.len() {
                self.nodes.push(Node { name: name.to_owned(), ..Node::default() });
                self.nodes[at].children.push(child);
                self.nodes[at].known.add(name);
            }
            self.nodes[child].kept |= kept;
            at = child;
        }
        Slot(at)
    }

    /// Finds the paths in a document.
    ///
    /// # Errors
    /// When the text is no JSON, as far as it is looked at.
    pub fn find<'a>(&self, document: &'a str, found: &mut Found<'a>) -> Result<(), Broken> {
        let mut reader = Reader::new(document);
        self.read(&mut reader, found)?;
        if reader.peek().is_some() { Err(Broken) } else { Ok(()) }
    }

    /// Finds the paths in the document that comes next, and gives its text.
    fn read<'a>(&self, reader: &mut Reader<'a>, found: &mut Found<'a>) -> Result<&'a str, Broken> {
        found.states.clear();
        found.states.resize(self.nodes.len(), State::Missing);
        let first = reader.peek().ok_or(Broken)?;
        let from = reader.position();
        if first == b'{' {
            self.members(0, reader, found)?;
            let text = reader.since(from)?;
            found.states[0] = if self.nodes[0].wanted { State::Text(text) } else { State::Object };
            Ok(text)
        } else {
            let text = reader.value()?;
            self.no_object(0, text, found);
            Ok(text)
        }
    }

    /// Reads the members of the object that comes next.
    fn members<'a>(&self, node: usize, reader: &mut Reader<'a>, found: &mut Found<'a>) -> Result<(), Broken> {
        let Node { children, known, .. } = &self.nodes[node];
        // Members come in the same order in every document: the next one is most often the child after the last.
        let mut expected = 0;
        let mut first = true;
        if !reader.take(b'{') {
            return Err(Broken);
        }
        while reader.another(&mut first, b'}')? {
            let (key, escapes) = reader.name()?;
            let mut child = None;
            if escapes || known.may_have(key.get(1..key.len() - 1).unwrap_or_default()) {
                for turn in 0..children.len() {
                    let position = if expected + turn < children.len() {
                        expected + turn
                    } else {
                        expected + turn - children.len()
                    };
                    let Node { name, alias, .. } = &self.nodes[children[position]];
                    let is_alias = || alias.as_ref().map_or(Ok(false), |alias| is_name(key, escapes, alias));
                    let by_name = is_name(key, escapes, name)?;
                    if by_name || is_alias()? {
                        // What stands under the own name counts.
                        let found = found.states[children[position]];
                        child = (by_name || found == State::Missing).then_some(children[position]);
                        expected = position + 1;
                        break;
                    }
                }
            }
            match child {
                Some(child) => self.member(child, reader, found)?,
                None => drop(reader.value()?),
            }
        }
        Ok(())
    }

    /// Reads the value of a member that is wanted, or of which members are.
    fn member<'a>(&self, node: usize, reader: &mut Reader<'a>, found: &mut Found<'a>) -> Result<(), Broken> {
        if found.states[node] != State::Missing {
            // Of several members with the same name the last counts.
            self.forget(node, found);
        }
        let Node { children, wanted, .. } = &self.nodes[node];
        if children.is_empty() {
            found.states[node] = State::Text(reader.value()?);
        } else if reader.peek() != Some(b'{') {
            self.no_object(node, reader.value()?, found);
        } else if *wanted {
            let text = reader.value()?;
            self.members(node, &mut Reader::new(text), found)?;
            found.states[node] = State::Text(text);
        } else {
            self.members(node, reader, found)?;
            found.states[node] = State::Object;
        }
        Ok(())
    }

    fn no_object<'a>(&self, node: usize, text: &'a str, found: &mut Found<'a>) {
        if Type::of(text) != Type::Null {
            self.set_below(node, State::Blocked, found);
        }
        found.states[node] = State::Text(text);
    }

    fn forget(&self, node: usize, found: &mut Found<'_>) {
        self.set_below(node, State::Missing, found);
        found.states[node] = State::Missing;
    }

    fn set_below<'a>(&self, node: usize, state: State<'a>, found: &mut Found<'a>) {
        for child in &self.nodes[node].children {
            found.states[*child] = state;
            self.set_below(*child, state, found);
        }
    }

    /// Appends the document with nothing in it but the paths that are [kept](Self::keep).
    pub fn pruned(&self, found: &Found<'_>, out: &mut Vec<u8>) {
        self.prune(0, found, out);
    }

    fn prune(&self, node: usize, found: &Found<'_>, out: &mut Vec<u8>) {
        match found.state(Slot(node)) {
            State::Text(text) => out.extend_from_slice(text.as_bytes()),
            State::Missing | State::Blocked => out.extend_from_slice(b"null"),
            State::Object => {
                out.push(b'{');
                let there =
                    |child: &&usize| self.nodes[**child].kept && found.state(Slot(**child)) != State::Missing;
                for (position, child) in self.nodes[node].children.iter().filter(there).enumerate() {
                    out.extend_from_slice(if position == 0 { b"" } else { b"," });
                    crate::append_str(&self.nodes[*child].name, out);
                    out.push(b':');
                    self.prune(*child, found, out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Whether names may be among others, by a bit of each.
#[derive(Debug, Default)]
struct NameSet([u64; 4]);

impl NameSet {
    fn add(&mut self, name: &str) {
        let (word, bit) = Self::place(name);
        self.0[word] |= bit;
    }

    fn may_have(&self, name: &str) -> bool {
        let (word, bit) = Self::place(name);
        self.0[word] & bit != 0
    }

    fn place(name: &str) -> (usize, u64) {
        let bytes = name.as_bytes();
        // The first letter of AWS's names may be small or large.
        let first = bytes.first().map_or(0, |byte| usize::from(byte | 0x20));
        let middle = bytes.get(bytes.len() / 2).map_or(0, |byte| usize::from(*byte));
        let last = bytes.last().map_or(0, |byte| usize::from(*byte));
        let hash = bytes.len() * 67 + first * 31 + middle * 13 + last * 5;
        (hash >> 6 & 3, 1 << (hash & 63))
    }
}

/// The documents of a batch: the elements of a list in JSON.
#[derive(Debug)]
pub struct DocumentReader<'a> {
    reader: Reader<'a>,
    first: bool,
    ended: bool,
}

impl<'a> DocumentReader<'a> {
    /// # Errors
    /// When the text is no list.
    pub fn new(text: &'a str) -> Result<Self, Broken> {
        let mut reader = Reader::new(text);
        if reader.take(b'[') { Ok(Self { reader, first: true, ended: false }) } else { Err(Broken) }
    }

    /// The text of the next document, with what is found in it; `None` behind the last one.
    ///
    /// # Errors
    /// When the text is no JSON, as far as it is looked at.
    pub fn next(&mut self, paths: &PathTree, found: &mut Found<'a>) -> Result<Option<&'a str>, Broken> {
        if self.ended {
            return Ok(None);
        }
        if self.reader.another(&mut self.first, b']')? {
            return paths.read(&mut self.reader, found).map(Some);
        }
        self.ended = true;
        if self.reader.peek().is_some() { Err(Broken) } else { Ok(None) }
    }
}
