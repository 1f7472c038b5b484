"""What one tenant has otherwise than we: names, an XSLT over the finished file, the vendor's XSD to hold it to.

Everything is read and tried when the program starts, and refused then (ConfigurationError). A stylesheet reads and
writes nothing: no file, no network, no other stylesheet. It needs the whole file as a tree, some ten times the size of
the file in memory, while everything else streams; `VOYADO_FALLBACK_MAX_LINES` bounds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec
from lxml import etree

from voyado_async.delivery import FileFamily, FileForm, NoFileForm
from voyado_async.errors import ConfigurationError, FileRefused
from voyado_async.fallback import xml
from voyado_async.fallback.batch import Head
from voyado_async.fallback.names import OURS, PREFERENCES, Names
from voyado_async.fallback.record import RecordRefused
from voyado_async.fallback.renaming import read_names
from voyado_async.models.contact_fields import PREFERENCES as FLAT
from voyado_async.models.decode import plain
from voyado_async.settings import Settings

_XSL = "{http://www.w3.org/1999/XSL/Transform}"
_XS = "{http://www.w3.org/2001/XMLSchema}"


class Tenant(msgspec.Struct, frozen=True):
    """How this tenant's files differ from ours. Without anything set they don't."""

    names: Names = OURS
    stylesheets: dict[FileFamily, etree.XSLT] = {}
    schemas: dict[FileFamily, etree.XMLSchema] = {}

    @classmethod
    def of(cls, settings: Settings) -> Tenant:
        """What the settings say. Raises ConfigurationError for a file that cannot be read or used."""
        stylesheets, schemas = {}, {}
        for family in FileFamily:
            if (path := getattr(settings, f"fallback_xslt_{family}")) is not None:
                stylesheets[family] = _stylesheet(f"fallback_xslt_{family}", path)
            if (path := getattr(settings, f"fallback_xsd_{family}")) is not None:
                schemas[family] = _schema(f"fallback_xsd_{family}", path)
        names = OURS if settings.fallback_names is None else read_names(settings.fallback_names)
        return cls(names, stylesheets, schemas)

    def file_form(self, form: FileForm | NoFileForm) -> FileForm | NoFileForm:
        """The same form, or why this tenant's files have none."""
        if isinstance(form, FileForm) and form.family is FileFamily.CONTACTS and self.names.preferences is None:
            fields = plain(form.record)
            if PREFERENCES in fields or fields.keys() & set(FLAT):
                return NoFileForm("sets preferences, which stand in no file of this tenant (VOYADO_FALLBACK_NAMES)")
        return form

    def changes(self, family: FileFamily) -> bool:
        """Whether something of the tenant's own comes after our own file."""
        return family in self.stylesheets or family in self.schemas

    def transform(self, source: BinaryIO, output: BinaryIO, family: FileFamily) -> None:
        """Write what the stylesheet makes of a finished file: UTF-8 with declaration. Raises FileRefused."""
        result = self._transformed(etree.parse(source, etree.XMLParser(**xml.SAFE)), family)
        result.write(output, encoding="utf-8", xml_declaration=True)

    def check(self, source: BinaryIO, head: Head, records: int) -> None:
        """Hold what leaves to the vendor's XSD; without one, what a stylesheet made is read again all the same.

        As a stream where no stylesheet has changed the records. Raises FileRefused.
        """
        schema = self.schemas.get(head.family)
        if head.family not in self.stylesheets:
            if schema is not None:
                xml.check(source, head, records, self.names, schema=schema)
            return
        try:
            tree = etree.parse(source, etree.XMLParser(**xml.SAFE))
        except etree.XMLSyntaxError as error:
            raise FileRefused(
                f"what the XSLT made was refused when it was read: {xml.where(error.error_log)}"
            ) from None
        if schema is not None and not schema.validate(tree):
            raise FileRefused(f"what the XSLT made is refused by the vendor's XSD: {xml.where(schema.error_log)}")

    def refusal_of(self, form: FileForm, record: str) -> RecordRefused | None:
        """Why this record alone, which is one of ours, would make its file refused by what the tenant has set."""
        if not self.changes(form.family):
            return None
        document = xml.alone(Head.of(form), record, self.names)
        tree = etree.ElementTree(etree.fromstring(document, etree.XMLParser(**xml.SAFE)))
        if form.family in self.stylesheets:
            try:
                tree = self._transformed(tree, form.family)
            except FileRefused:
                return RecordRefused("", "the tenant's XSLT fails on it")
        schema = self.schemas.get(form.family)
        depth = xml.depth_of_records(self.names.shape(form.family))
        return None if schema is None else xml.refused_by(schema, "the vendor's XSD", tree.getroot(), depth=depth)

    def _transformed(
        self, tree: etree._ElementTree[etree._Element], family: FileFamily
    ) -> etree._ElementTree[etree._Element]:
        try:
            result = self.stylesheets[family](tree)
        except etree.XSLTApplyError:
            # Its message can quote a value (xsl:message).
            raise FileRefused(f"the XSLT of the {family} files fails on this file") from None
        root = result.getroot()
        if root is None:
            raise FileRefused(f"the XSLT of the {family} files makes no XML element of this file")
        return etree.ElementTree(root)


def _stylesheet(name: str, path: str) -> etree.XSLT:
    document = _parsed(name, path)
    for tag in ("import", "include"):
        if document.getroot().find(f".//{_XSL}{tag}") is not None:
            raise _wrong(name, f"{path} uses xsl:{tag}: everything has to stand in one file")
    try:
        return etree.XSLT(document, access_control=etree.XSLTAccessControl.DENY_ALL)
    except etree.XSLTParseError as error:
        raise _wrong(name, f"{path} is no XSLT stylesheet that can be used: {error}") from None


def _schema(name: str, path: str) -> etree.XMLSchema:
    document = _parsed(name, path)
    for tag in ("import", "include", "redefine"):
        for node in document.getroot().iterfind(f".//{_XS}{tag}"):
            if node.get("schemaLocation") is not None:
                raise _wrong(name, f"{path} names another file (xs:{tag}): everything has to stand in one file")
    try:
        return etree.XMLSchema(document)
    except etree.XMLSchemaParseError as error:
        raise _wrong(name, f"{path} is no XML schema that can be used: {error}") from None


def _parsed(name: str, path: str) -> etree._ElementTree[etree._Element]:
    """A file of the operator's: no DTD, no entities, no network."""
    try:
        content = Path(path).read_bytes()
        document = etree.ElementTree(etree.fromstring(content, etree.XMLParser(**xml.SAFE)))
    except OSError as error:
        raise _wrong(name, f"{path} cannot be read: {error.strerror}") from None
    except etree.XMLSyntaxError as error:
        raise _wrong(name, f"{path} is not well-formed XML: {error.msg}") from None
    if document.docinfo.internalDTD is not None:
        raise _wrong(name, f"{path} has a DOCTYPE, which is not accepted")
    return document


def _wrong(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{name} (VOYADO_{name.upper()}): {reason}")
