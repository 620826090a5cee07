"""What MkDocs is told beside mkdocs.yml: files outside docs/ that are pages of the site, and links to them."""

import re
from pathlib import Path

from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "experiments/ranking/PRETRAINING.md": "experiments/pretraining.md",
    "experiments/ranking/reliability.svg": "experiments/reliability.svg",
    **{
        f"experiments/{name}/README.md": f"experiments/{name}.md"
        for name in (
            *("nasbench201", "other_spaces", "proxies", "ranking", "reproduce"),
            *("search", "search_digits", "search_epochs", "models"),
        )
    },
}
"""Each file by its path in the repository, and the page that it becomes."""


def on_files(files, config):
    """Add the files outside docs/."""
    for path, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, **_):
    """In the repository a page links to ``../SECURITY.md``; in the site that is ``security.md``."""
    return re.sub(r"\]\(\.\./([^)#]+)", lambda link: f"]({OUTSIDE.get(link[1], '../' + link[1])}", markdown)


def on_page_content(html, **_):
    """The roles of reStructuredText in docstrings, as ``:meth:``, mean nothing to Markdown."""
    return re.sub(r":(?:attr|class|func|meth|mod):(?=<code>)", "", html).replace("<code>~", "<code>")


def on_post_page(output, page, **_):
    """Without a server, searching needs a small script that Material would fetch from a server: take our copy."""
    copy = get_relative_url("vendor/iframe-worker.js", page.url)
    return output.replace("https://unpkg.com/iframe-worker/shim", copy)


def on_post_template(output_content, template_name, **_):
    """The same for the page of what is not found, which stands at the top."""
    return output_content.replace("https://unpkg.com/iframe-worker/shim", "vendor/iframe-worker.js")
