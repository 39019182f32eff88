"""XML that builds objects or runs scripts where it is loaded, and the XML and HTML that honest platforms carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from .assembly import Attack, Payload

Write = Callable[[Payload], str]


def _builds(payload: Payload, element: str = "object") -> str:
    """What has `java.beans.XMLDecoder` start a process; run by hand with OpenJDK, each of the roots below."""
    return (
        f'<{element} class="java.lang.ProcessBuilder"><array class="java.lang.String" length="2">'
        f'<void index="0"><string>touch</string></void><void index="1"><string>{payload.marker}</string></void></array>'
        f'<void method="start"/></{element}>'
    )


_XSL: Final = 'version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"'
OBJECTS: Final[dict[str, Write]] = {
    "XMLDecoder": lambda p: f'<java version="1.8" class="java.beans.XMLDecoder">{_builds(p)}</java>',
    "XMLDecoder without its class": lambda p: f"<java>{_builds(p)}</java>",
    "XMLDecoder without its root": _builds,
    "XMLDecoder by new": lambda p: _builds(p, "new"),
    "XMLDecoder in an array": lambda p: f'<array class="java.lang.Object"><void index="0">{_builds(p)}</void></array>',
    "XMLDecoder in a string": lambda p: f"<string>{_builds(p)}</string>",
    "XMLDecoder in a property": lambda p: f'<property name="x">{_builds(p)}</property>',
    "XMLDecoder, then broken": lambda p: f'<java class="java.beans.XMLDecoder">{_builds(p)}</java>junk<',
    "XMLDecoder in a string, then broken": lambda p: f"<string>{_builds(p)}</string>junk<",
    "XMLDecoder behind spaces": lambda p: " " * 6000 + f'<java class="java.beans.XMLDecoder">{_builds(p)}</java>',
    "XMLDecoder behind a comment": lambda p: f"<!--{'x' * 70_000}--><java>{_builds(p)}</java>",
    "XMLDecoder in UTF-16": lambda p: f'\ufeff<?xml version="1.0"?><java>{_builds(p)}</java>',
    "XMLDecoder with letters as numbers": lambda p: (
        f"<java>{_builds(p).replace('java.lang.ProcessBuilder', '&#106;ava.lang.ProcessBuilder')}</java>"
    ),
    "XStream, proxy": lambda p: (
        "<sorted-set><string>a</string><dynamic-proxy><interface>java.lang.Comparable</interface>"
        '<handler class="java.beans.EventHandler"><target class="java.lang.ProcessBuilder"><command>'
        f"<string>touch</string><string>{p.marker}</string></command></target><action>start</action></handler>"
        "</dynamic-proxy></sorted-set>"
    ),
    "XStream, ImageIO": lambda p: (
        '<map><entry><jdk.nashorn.internal.objects.NativeString><value class="com.sun.xml.internal.bind.v2'
        '.runtime.unmarshaller.Base64Data"/></jdk.nashorn.internal.objects.NativeString></entry></map>'
    ),
    "XStream, then broken": lambda p: "<map><entry><jdk.nashorn.internal.objects.NativeString/></entry></map>junk",
    "XStream, root of a class": lambda p: (
        '<java.util.PriorityQueue serialization="custom"><javax.naming.ldap.Rdn_-RdnEntry/></java.util.PriorityQueue>'
    ),
    "Spring": lambda p: (
        '<beans xmlns="http://www.springframework.org/schema/beans"><bean id="pb" class="java.lang.ProcessBuilder" '
        f'init-method="start"><constructor-arg><list><value>touch</value><value>{p.marker}</value></list>'
        "</constructor-arg></bean></beans>"
    ),
    "Spring expression": lambda p: (
        '<beans xmlns="http://www.springframework.org/schema/beans"><bean id="a" class="java.lang.String">'
        f"""<constructor-arg value="#{{T(java.lang.Runtime).getRuntime().exec('touch {p.marker}')}}"/></bean></beans>"""
    ),
    "XSLT with a script": lambda p: (
        f'<xsl:stylesheet {_XSL} xmlns:m="urn:schemas-microsoft-com:xslt"><m:script language="C#">x</m:script>'
        "</xsl:stylesheet>"
    ),
    "XSLT with Java": lambda p: (
        f'<xsl:stylesheet {_XSL} xmlns:r="http://xml.apache.org/xalan/java/java.lang.Runtime"><xsl:template match="/">'
        f"""<xsl:value-of select="r:exec(r:getRuntime(),'touch {p.marker}')"/></xsl:template></xsl:stylesheet>"""
    ),
    "XAML": lambda p: (
        '<ResourceDictionary xmlns="http://schemas.microsoft.com/winfx/2006/xaml/presentation">'
        '<ObjectDataProvider MethodName="Start"/></ResourceDictionary>'
    ),
    "XInclude": lambda p: '<PMML xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="/etc/passwd"/></PMML>',
    "XInclude by letters as numbers": lambda p: (
        '<a xmlns:i="http://www.w3.org/2001&#47;XInclude"><i:include href="x"/></a>'
    ),
    "XInclude in a paragraph": lambda p: '<p><i:include xmlns:i="http://www.w3.org/2001/XInclude" href="x"/></p>',
    "XInclude behind a decoy": lambda p: (
        '<a b="xmlns:i" xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="x"/></a>'
    ),
    "document type of another file": lambda p: '<!DOCTYPE PMML SYSTEM "file:///etc/passwd"><PMML version="4.4"/>',
}
"""Each is MALICIOUS: loading it runs what it names, or reads what lies elsewhere."""
_PMML: Final = '<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/>'
_SVG: Final = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
NOT_CLEAN: Final[dict[str, tuple[Write, str]]] = {
    "cut PMML": (lambda p: '<?xml version="1.0"?><PMML version="4.4"><Header/><TreeModel', "format.broken"),
    "PMML with a wrong end": (lambda p: "<PMML><a></b>", "format.broken"),
    "PMML twice": (lambda p: '<PMML version="4.4"/><PMML version="4.4"/>', "format.broken"),
    "PMML and more": (lambda p: '<PMML version="4.4"/>more', "format.broken"),
    "PMML and a zero": (lambda p: '<PMML version="4.4"/>\0', "file.unrecognised"),
    "PMML with an attribute twice": (lambda p: '<PMML version="4.4" version="4.3"/>', "format.broken"),
    "PMML with a script": (lambda p: f"{_PMML}<Extension><script>x</script></Extension></PMML>", "text.xml-script"),
    "PMML with an extension for scripts": (
        lambda p: f'{_PMML}<Extension name="postScript" value="x"/></PMML>',
        "text.xml-script",
    ),
    "PMML with a function of Java": (
        lambda p: (
            f'{_PMML}<TransformationDictionary><DerivedField><Apply function="com.evil.Run"/></DerivedField>'
            "</TransformationDictionary></PMML>"
        ),
        "config.remote-code",
    ),
    "PMML of another namespace": (lambda p: '<PMML xmlns="urn:other" version="4.4"/>', "text.xml-unknown"),
    "OpenVINO with a layer of a library": (
        lambda p: '<net name="m" version="11"><layers><layer id="0" type="My" version="extension"/></layers></net>',
        "openvino.operator-unknown",
    ),
    "drawing with a script": (lambda p: f"{_SVG}<script>x</script></svg>", "text.xml-script"),
    "drawing that acts when it is loaded": (lambda p: f'{_SVG}<g onload="x()"/></svg>', "text.xml-script"),
    "drawing with an address that acts": (
        lambda p: f'{_SVG}<a xlink:href="java&#10;script:x()"><text>a</text></a></svg>',
        "text.xml-script",
    ),
    "drawing with an address that is animated": (
        lambda p: f'{_SVG}<a><animate attributeName="href" values="javascript:x()"/></a></svg>',
        "text.xml-script",
    ),
    "drawing with a style sheet": (lambda p: f'<?xml-stylesheet href="x.xsl"?>{_SVG}</svg>', "text.xml-entity"),
    "page": (lambda p: "<!doctype html><title>404</title><p>not found", "text.page"),
    "page with a script": (lambda p: "<html><body><script>x()</script></body></html>", "text.xml-script"),
    "page in XML": (
        lambda p: '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body onload="x()"/></html>',
        "text.xml-script",
    ),
    "Markdown with a script": (lambda p: "<div>\n<script>x()</script>\n</div>\n\n# Model\n", "text.xml-script"),
    "Markdown with an image that acts": (lambda p: '<p align="center"><img src=x onerror="x()">', "text.xml-script"),
    "XML of no known kind": (lambda p: '<Workflow version="1"><step/></Workflow>', "text.xml-unknown"),
    "XML of no known kind without attributes": (lambda p: "<workflow><step/></workflow>", "text.xml-unknown"),
    "Spring without a known attack": (
        lambda p: '<beans xmlns="http://www.springframework.org/schema/beans"><bean class="a.B"/></beans>',
        "text.xml-unknown",
    ),
    "XSLT": (lambda p: f"<xsl:stylesheet {_XSL}/>", "text.xml-unknown"),
    "XML 1.1": (lambda p: '<?xml version="1.1"?><PMML version="4.4"/>', ""),
    "XML in EBCDIC": (lambda p: '<?xml version="1.0" encoding="cp037"?><PMML version="4.4"/>', "file.unsupported"),
    "XML behind a space": (lambda p: ' <?xml version="1.0"?><PMML version="4.4"/>', "format.broken"),
}
"""Each is UNKNOWN, by that rule."""

_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_DOCUMENT_TYPE: Final = (
    '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"\n  "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">\n'
)
HONEST: Final[dict[str, tuple[str, str]]] = {
    "model.pmml": (
        "xml",
        f'{_HEAD}{_PMML}<DataDictionary><DataField name="x" optype="continuous" dataType="double"/></DataDictionary>'
        '<TransformationDictionary><DefineFunction name="my.scale" optype="continuous"><ParameterField name="v"/>'
        '<Apply function="x-log1p"><FieldRef field="v"/></Apply></DefineFunction><DerivedField name="d" '
        'optype="continuous" dataType="double"><Apply function="my.scale"><FieldRef field="x"/></Apply></DerivedField>'
        '</TransformationDictionary><MiningBuildTask><Extension name="repr">PMMLPipeline(steps=[("lr", "x")])'
        f"</Extension></MiningBuildTask>{'<TreeModel>' + '<Node>' * 400 + '</Node>' * 400 + '</TreeModel>'}</PMML>",
    ),
    "old.pmml": ("xml", '<?xml version="1.0" ?>\n<PMML version="2.0"><Header copyright="x &amp; y"/></PMML>\n'),
    "openvino.xml": (
        "xml",
        '<?xml version="1.0"?>\n<net name="m" version="11">\n<layers>\n<layer id="0" name="x" type="Parameter" '
        'version="opset1"><data shape="1,3" element_type="f32"/><output><port id="0"/></output></layer>'
        '<layer id="1" name="w" type="Const" version="opset1"><data shape="3,4" offset="0" size="48"/>'
        "</layer></layers><edges/><rt_info><MO_version value='2024.1'/></rt_info></net>",
    ),
    "openvino-ir7.xml": (
        "xml",
        '<net batch="1" name="m" version="7"><layers><layer id="0" type="Input"/></layers></net>',
    ),
    "cascade.xml": (
        "xml",
        '<?xml version="1.0"?>\n<!-- Intel License Agreement -->\n<opencv_storage>\n<cascade type_id="opencv-cascade-'
        'classifier"><stageType>BOOST</stageType><height>24</height></cascade></opencv_storage>\n',
    ),
    "plot.svg": (
        "xml",
        f"{_HEAD}{_DOCUMENT_TYPE}{_SVG}<metadata><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'/>"
        '</metadata><defs><style type="text/css">*{stroke-linejoin: round}</style></defs><use xlink:href="#m" '
        'style="fill: #1f77b4; stroke: #000"/><a href="https://example.org"><text>a;b</text></a></svg>',
    ),
    "drawing.svg": ("xml", f'<?xpacket begin="x"?>\n{_SVG}<path d="M0 0L1 1"/></svg>'),
    "README.md": (
        "text",
        '<p align="center">\n  <img src="logo.png" width="200">\n</p>\n<h1 align="center">A model</h1>\n\n'
        "Do not write `<script>` or `onclick=`:\n\n```html\n<script>x()</script>\n<a onclick='x()'>\n```\n",
    ),
    "card.md": (
        "text",
        "<!-- filled in by hand: <script> -->\n\n# Model card\n\n<a href='https://example.org'>here</a>\n",
    ),
    "gallery.md": ("text", "<Gallery />\n\n## Model description\n"),
    "picture.md": (
        "text",
        "<picture>\n  <source media='(x)' srcset='a.png'>\n  <img src='b.png'>\n</picture>\n# Title\n",
    ),
    "details.md": (
        "text",
        "<details><summary>More</summary>\n\n| a | b |\n|---|---|\n\n</details>\n\n# Online = yes\n",
    ),
    "style.md": ("text", "<style>\nbody { color: red }\n</style>\n<div class='x'>\n<h2>Model</h2>\n</div>\n"),
    "vocab.txt": ("text", "<s>\n<pad>\n</s>\n<unk>\n<mask>\nthe\nof\n<java>\n"),
    "special.txt": ("text", "<unk>\n<s>\n</s>\n<|endoftext|>\n"),
    "prompt.txt": ("text", "<system>\nYou help.\n</system>\n<user>\n{x}\n</user>\n"),
    "training.txt": ("text", "<34>1 2024-05-01T10:00:00Z host train - loss 0.3\n"),
    "levels.txt": ("text", "<INFO> started\n<WARN> slow <a.B object at 0x7f>\n"),
    "numbers.txt": ("text", "< 0.5 is low, > 0.5 is high\n"),
}
"""Names to the format that is told, and the content; all of it is CLEAN."""


def attacks() -> Iterator[Attack]:
    """One file for each."""
    for name, write in OBJECTS.items():
        yield Attack(f"XML: {name}", "other formats", _encoded(write), "", suffix=".xml")
    for name, (write, _) in NOT_CLEAN.items():
        yield Attack(f"XML: {name}", "other formats", _encoded(write), "", expected="UNKNOWN", suffix="")


def _encoded(write: Write) -> Callable[[Payload], bytes]:
    def build(payload: Payload) -> bytes:
        text = write(payload)
        return text.removeprefix("\ufeff").encode("utf-16" if text.startswith("\ufeff") else "utf-8")

    return build
