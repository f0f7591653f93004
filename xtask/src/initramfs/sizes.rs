//! `cargo xtask sizes`: how much a client fetches before anything else can happen, and whether that is too much.

use std::fs;

use anyhow::{Context as _, Result, bail};
use initramfs::{compress, size};

use super::{Compression, Content, Packed, full_kernel, pack};
use crate::{
    paths,
    setup::{self, Purpose},
    toolchain::{self, Arch, BuildOptions, Use},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    build: BuildOptions,
}

/// Kernel and initramfs together, in bytes.
const LIMIT: usize = 16_000_000;
/// The same with the programs that grow file systems.
const LIMIT_WITH_TOOLS: usize = 40_000_000;

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut build = options.build.clone();
    if build.arch != Arch::X86_64 {
        bail!("sizes are those of x86_64");
    }
    build.dist = build.agent.is_none();
    setup::install(&[Purpose::Build, Purpose::Initramfs, Purpose::ResizeTools])?;
    if build.wants_musl_std(Use::Shipping) {
        setup::install(&[Purpose::MuslStd])?;
    }
    let kernel = &full_kernel()?;
    let agent = toolchain::build_agent(&build, Use::Shipping)?;
    let mut rows = Vec::new();
    let kernel_len = usize::try_from(fs::metadata(&kernel.image)?.len())?;
    for (has_resize_tools, limit) in [(false, LIMIT), (true, LIMIT_WITH_TOOLS)] {
        let content = Content {
            has_resize_tools,
            ..Content::default()
        };
        println!("==> packing for {}", kernel.version);
        rows.push(Row {
            kernel: kernel.version.clone(),
            has_resize_tools,
            kernel_len,
            packed: pack(&agent, kernel, build.arch, Compression::Xz, &content)?,
            limit,
        });
    }
    let text = document(&rows)?;
    println!("{text}");
    let file = paths::root().join("docs/sizes.md");
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    println!("wrote {}", file.display());
    let over: Vec<String> = rows
        .iter()
        .filter(|row| row.total() > row.limit)
        .map(|row| {
            let (total, limit) = (size(row.total()), size(row.limit));
            format!("{}: {total}, and {limit} are the limit", row.kernel)
        })
        .collect();
    if !over.is_empty() {
        bail!("too large: {}", over.join("; "));
    }
    Ok(())
}

#[derive(Debug)]
struct Row {
    kernel: String,
    has_resize_tools: bool,
    kernel_len: usize,
    packed: Packed,
    limit: usize,
}

impl Row {
    fn total(&self) -> usize {
        self.kernel_len + self.packed.len()
    }
}

fn document(rows: &[Row]) -> Result<String> {
    let mut text = "# What a client fetches\n\n\
        Made by `cargo xtask sizes`, which fails where a limit is passed. The agent is the one that is shipped (`--dist`), the\n\
        archive is compressed with xz. 1 MB is 1000000 bytes. Debian's cloud kernel, which is for virtual machines, has 14 MB by\n\
        itself and is over the limit of 16 MB with any initramfs.\n\n\
        | kernel | file systems are grown | kernel | initramfs | together | limit |\n\
        | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in rows {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            row.kernel,
            if row.has_resize_tools { "yes" } else { "no" },
            size(row.kernel_len),
            size(row.packed.len()),
            size(row.total()),
            size(row.limit),
        ));
    }
    text.push_str(
        "\n## Where the bytes are\n\nEach part as it is, and compressed by itself:\n\n\
         | kernel | part | as it is | compressed |\n| --- | --- | --- | --- |\n",
    );
    for row in rows.iter().filter(|row| row.has_resize_tools) {
        for (name, bytes) in &row.packed.parts {
            text.push_str(&format!(
                "| {} | {name} | {} | {} |\n",
                row.kernel,
                size(bytes.len()),
                size(compress(bytes, initramfs::Compression::Xz)?.len())
            ));
        }
    }
    text.push_str("\n[agent-size.md](agent-size.md) says what the agent is made of.\n");
    Ok(text)
}
