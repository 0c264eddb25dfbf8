"""MkDocs calls this: pages that are made from the code join those of docs/."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from deploy.site.pages import generated_pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is made; the theme reads its own list of pages from mkdocs.yml."""
    for path, content in generated_pages(Path(config.docs_dir)).items():
        files.append(File.generated(config, path, content=content))
    return files
