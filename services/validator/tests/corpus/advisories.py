"""Published advisories of scanners and loaders, each with its identifier: what one scanner missed once, ours never may.

Most name packages that are not installed here; those files are scanned and not loaded.
"""

from __future__ import annotations

from typing import Final

from .assembly import Attack, Call, Name, Result, attribute, of_calls

_PICKLESCAN: Final[dict[str, tuple[str, ...]]] = {
    "GHSA-3gf5-cxq9-w223": ("idlelib.pyshell:ModifiedInterpreter.runcode",),
    "GHSA-3vg9-h568-4w9m": ("idlelib.debugobj:ObjectTreeItem.SetText",),
    "GHSA-4r9r-ch6f-vxmx": ("torch.utils.bottleneck.__main__:run_cprofile",),
    "GHSA-4whj-rm5r-c2v8": ("torch.utils.bottleneck.__main__:run_autograd_prof",),
    "GHSA-5qwp-399c-mjwf": ("trace:Trace.run",),
    "GHSA-655q-fx9r-782v (CVE-2025-1716)": ("pip:main", "pip._internal:main", "pip._internal.cli.main:main"),
    "GHSA-6vqj-c2q5-j97w": ("profile:Profile.runctx",),
    "GHSA-6w4w-5w54-rjvr": ("idlelib.autocomplete:AutoComplete.get_entity",),
    "GHSA-7cq8-mj8x-j263": ("idlelib.autocomplete:AutoComplete.fetch_completions",),
    "GHSA-86cj-95qr-2p4f": ("torch._dynamo.guards:GuardBuilder.get",),
    "GHSA-9w88-8rmg-7g2p": ("cProfile:runctx",),
    "GHSA-f4x7-rfwp-v3xw (CVE-2025-71356)": (
        "torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression",
    ),
    "GHSA-f54q-57x4-jg88 (CVE-2025-71359)": ("lib2to3.pgen2.grammar:Grammar.loads",),
    "GHSA-f745-w6jp-hpxx": ("torch.utils.collect_env:run",),
    "GHSA-fqq6-7vqf-w3fg": ("doctest:debug_script",),
    "GHSA-g344-hcph-8vgg": ("trace:Trace.runctx",),
    "GHSA-g38g-8gr9-h9xp": (
        *("_aix_support:_read_cmd_output", "_osx_support:_read_output", "_pyrepl.pager:pipe_pager"),
        *("imaplib:IMAP4_stream", "test.support.script_helper:assert_python_ok", "uuid:_get_command_stdout"),
    ),
    "GHSA-h3qp-7fh3-f8h4": ("torch.utils.data.datapipes.utils.decoder:basichandlers",),
    "GHSA-j343-8v2j-ff7w": ("idlelib.pyshell:ModifiedInterpreter.runcommand",),
    "GHSA-m273-6v24-x4m4": ("operator:methodcaller", "_operator:methodcaller"),
    "GHSA-m869-42cg-3xwr": ("idlelib.run:Executive.runcode",),
    "GHSA-p9w7-82w4-7q8m": ("lib2to3.pgen2.pgen:ParserGenerator.make_label",),
    "GHSA-v7x6-rv5q-mhwc": ("timeit:timeit",),
    "GHSA-vr7h-p6mm-wpmh": ("torch.jit.unsupported_tensor_ops:execWrapper",),
    "GHSA-vv6j-3g6g-2pvj": ("torch.utils._config_module:ConfigModule.load_config",),
    "GHSA-vvpj-8cmc-gx39": ("pkgutil:resolve_name",),
    "GHSA-x696-vm39-cp64": ("profile:Profile.run",),
    "GHSA-xp4f-hrf8-rxw7": ("ensurepip:_run_pip", "ensurepip:bootstrap"),
    "CVE-2025-71360": ("idlelib.calltip:get_entity", "idlelib.calltip:Calltip.fetch_tip"),
    "CVE-2025-10157": ("asyncio.unix_events:_UnixSubprocessTransport._start",),
    "CVE-2025-46417": ("ssl:get_server_certificate", "linecache:getline", "linecache:getlines"),
    "mmaitre314/picklescan#48": ("code:InteractiveInterpreter.runcode", "code:InteractiveConsole.push"),
    "mmaitre314/picklescan#49": ("cProfile:run", "torch._inductor.codecache:compile_file"),
    "mmaitre314/picklescan#53": (
        *(
            "numpy.f2py.crackfortran:getlincoef",
            "numpy.f2py.crackfortran:_eval_length",
            "numpy.f2py.crackfortran:myeval",
        ),
        *("distutils.file_util:write_file", "_io:FileIO", "io:FileIO", "types:CodeType", "urllib.request:urlopen"),
    ),
    "mmaitre314/picklescan#66": ("importlib:import_module", "importlib.util:find_spec", "operator:attrgetter"),
    "mmaitre314/picklescan#69": ("mailcap:findmatch",),
    "mmaitre314/picklescan#74": ("marshal:loads", "importlib.machinery:SourceFileLoader"),
}
_OTHERS: Final[dict[str, tuple[str, ...]]] = {
    "GHSA-r7v6-mfhq-g3m2 (fickling)": ("pty:spawn",),
    "GHSA-m6fh-58r7-x697 (fickling)": ("_posixsubprocess:fork_exec", "site:addsitedir", "atexit:register"),
    "GHSA-5hwf-rc88-82xm (fickling)": ("_osx_support:_find_build_tool",),
    "GHSA-mhc9-48gj-9gp3 (fickling)": (
        *(
            "compileall:compile_file",
            "fileinput:input",
            "glob:glob",
            "mmap:mmap",
            "py_compile:compile",
            "select:select",
        ),
        *("signal:signal", "shelve:open", "socketserver:TCPServer", "sqlite3:connect", "syslog:syslog"),
        *(
            "tarfile:open",
            "threading:Thread",
            "_thread:start_new_thread",
            "xmlrpc.client:ServerProxy",
            "zipfile:ZipFile",
        ),
    ),
    "trailofbits/fickling#195": ("runpy:run_path", "cProfile:run", "ctypes:CDLL", "pydoc:locate"),
    "protectai/modelscan#338": (
        *("pandas:read_csv", "mlflow.projects.backend.local:_run_entry_point"),
        *("multiprocessing.util:spawnv_passfds", "torch.utils.collect_env:run_and_read_all"),
    ),
    "protectai/modelscan#267": ("pickle:loads", "_pickle:load"),
    "CVE-2022-45907": ("torch.jit.annotations:parse_type_line",),
    "CVE-2024-5480": ("torch.distributed.rpc:rpc_sync",),
    "CVE-2024-48063": ("torch.distributed.nn.api.remote_module:RemoteModule",),
    "CVE-2022-21797": ("joblib.parallel:Parallel", "joblib:Parallel"),
    "CVE-2019-6446": ("numpy:load",),
    "CVE-2024-39705": ("nltk.data:load", "nltk:download"),
    "CVE-2024-37059": ("mlflow.pytorch:load_model", "torch:load"),
    "CVE-2020-13092": ("joblib:load", "sklearn.externals.joblib:load"),
    "CVE-2024-11393": (
        "transformers.models.maskformer.convert_maskformer_original_pytorch_checkpoint_to_pytorch:main",
    ),
    "torch.fx wrapper": ("torch.fx.graph_module:_exec_with_source", "torch.fx.graph_module:_forward_from_src"),
    "sympy": ("sympy:sympify", "sympy.parsing.sympy_parser:eval_expr"),
    "dill": ("dill:loads", "dill._dill:_create_function"),
    "pandas": ("pandas:eval", "pandas.core.computation.eval:eval", "pandas:read_pickle"),
    "cloudpickle": ("cloudpickle.cloudpickle:_make_function", "cloudpickle.cloudpickle:_builtin_type"),
    "ultralytics": ("ultralytics.utils.checks:check_requirements",),
    "IPython": ("IPython:start_ipython", "IPython.core.interactiveshell:InteractiveShell.system"),
}


def attacks() -> list[Attack]:
    """One file for each name of each advisory."""
    found = []
    for advisory, paths in (*_PICKLESCAN.items(), *_OTHERS.items()):
        calls = {f"{advisory}: {path}": lambda p, path=path: Call(path, p.shell) for path in paths}
        found += of_calls("advisories", calls, loader="", advisory=advisory)
    chained = Result(attribute(Call("importlib:import_module", "os"), "system"), "x")
    found += of_calls(
        "advisories",
        {
            "importlib in a chain": lambda p: chained,
            "value that is never called": lambda p: Name("os:system"),
            "default of a missing key": lambda p: Result(
                Name("builtins:str.format"), "{0[x]}", Call("collections:defaultdict", Name("builtins:help"))
            ),
        },
        loader="",
        advisory="mmaitre314/picklescan#66",
    )
    return found
