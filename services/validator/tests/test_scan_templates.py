"""Chat templates: those that models are published with pass, and no way to Python's internals does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vallum_validator.domain import ScanVerdict
from vallum_validator.scan import scan_file

HONEST = {
    "turns between marks": """{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
    "system message apart": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "headers and tools": """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{%- if builtin_tools is defined %}{{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n"}}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
{%- for message in messages %}
{%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- elif 'tool_calls' in message %}
{%- if not message.tool_calls|length == 1 %}{{- raise_exception("This model only supports single tool-calls at once!") }}{%- endif %}
{%- set tool_call = message.tool_calls[0].function %}
{{- '{"name": "' + tool_call.name + '", ' }}{{- '"parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
{%- for arg_name, arg_val in tool_call.arguments | items %}{{- arg_name + '="' + arg_val + '"' }}{%- if not loop.last %}{{- ", " }}{%- endif %}{%- endfor %}
{%- elif message.role == "tool" %}
{%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
{%- endif %}{%- endfor %}""",
    "tools and last query": """{%- if tools %}{{- '<|im_start|>system\\n' }}{%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}{{- "\\n</tools>" }}{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}
{%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}
{%- for message in messages %}{%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
{%- if message.role == "assistant" %}{%- set reasoning_content = '' %}
{%- if message.reasoning_content is string %}{%- set reasoning_content = message.reasoning_content %}{%- else %}{%- if '</think>' in content %}{%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}{%- endif %}
{%- if loop.index0 > ns.last_query_index %}{{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}{%- endif %}
{%- for tool_call in message.tool_calls %}{%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}{%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}{{- tool_call.name }}{%- endfor %}
{%- elif message.role == "tool" %}{%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}""",
    "alternation checked with a counter": """{%- if messages[0]["role"] == "system" %}{%- set system_message = messages[0]["content"] %}{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}{%- set ns.index = 0 %}
{%- for message in loop_messages %}{%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}{%- if (message["role"] == "user") != (ns.index % 2 == 0) %}{{- raise_exception("conversation roles must alternate") }}{%- endif %}{%- set ns.index = ns.index + 1 %}{%- endif %}{%- endfor %}
{{- bos_token }}{%- for message in loop_messages %}{%- if message["role"] == "user" %}{%- if tools is not none and (message == user_messages[-1]) %}{{- "[AVAILABLE_TOOLS] [" }}{%- for tool in tools %}{%- set tool = tool.function %}{%- for key, val in tool.items() if key != "return" %}{%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}{%- if not loop.last %}{{- ", " }}{%- endif %}{%- endfor %}{%- endfor %}{{- "]" }}{%- endif %}
{%- elif message["role"] == "tool_results" or message["role"] == "tool" %}{%- if message.content is defined and message.content.content is defined %}{%- set content = message.content.content %}{%- else %}{%- set content = message.content %}{%- endif %}{{- '{"content": ' + content|string + ", " }}{%- if not message.tool_call_id is defined or message.tool_call_id|length != 9 %}{{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}{%- endif %}{%- endif %}{%- endfor %}""",
    "parts of images": """{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- if messages[0]['content'] is string -%}{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}{%- else -%}{%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}{%- endif -%}{%- set loop_messages = messages[1:] -%}{%- else -%}{%- set first_user_prefix = "" -%}{%- set loop_messages = messages -%}{%- endif -%}
{%- for message in loop_messages -%}{%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}{{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
{%- if message['content'] is string -%}{{ message['content'] | trim }}{%- elif message['content'] is iterable -%}{%- for item in message['content'] -%}{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}{%- else -%}{{ raise_exception("Invalid content type") }}{%- endif -%}{{ '<end_of_turn>\\n' }}{%- endfor -%}""",
    "macros over a schema": """{%- macro render_type(param_spec, required_params, is_nullable=false) -%}{%- if param_spec.type == "array" -%}{%- if param_spec['items'] -%}{%- if param_spec['items']['type'] == "string" -%}{{- "string[]" }}{%- else -%}{%- set inner_type = render_type(param_spec['items'], required_params) -%}{%- if inner_type == "object | object" or inner_type|length > 50 -%}{{- "any[]" }}{%- else -%}{{- inner_type + "[]" }}{%- endif -%}{%- endif -%}{%- endif -%}
{%- elif param_spec.type is defined and param_spec.type is iterable and param_spec.type is not string and param_spec.type is not mapping and param_spec.type[0] is defined -%}{{- param_spec.type | join(" | ") }}
{%- elif param_spec.oneOf -%}{%- for variant in param_spec.oneOf -%}{{- render_type(variant, required_params) -}}{%- if not loop.last %}{{- " | " }}{% endif -%}{%- endfor -%}{%- elif param_spec.type == "object" -%}{%- for prop_name, prop_spec in param_spec.properties.items() -%}{{- prop_name -}}{%- if prop_name not in (param_spec.required or []) -%}{{- "?" }}{%- endif -%}{{- ": " }}{{ render_type(prop_spec, param_spec.required or []) }}{%- endfor -%}{%- else -%}{{- "any" }}{%- endif -%}{%- endmacro -%}
{%- macro render_tools(namespace_name, tools) -%}{{- "## " + namespace_name + "\\n\\n" }}{%- for tool in tools %}{%- set tool = tool.function %}{{- "type " + tool.name + " = (" }}{%- if tool.parameters and tool.parameters.properties %}{%- for name, spec in tool.parameters.properties.items() %}{{- render_type(spec, tool.parameters.required or []) }}{%- if spec.default is defined -%}{%- if spec.enum %}{{- ", // default: " + spec.default }}{%- endif -%}{%- endif -%}{%- endfor %}{%- endif -%}{%- endfor %}{%- endmacro -%}
{{- "Current date: " + strftime_now("%Y-%m-%d") + "\\n\\n" }}{%- if tools -%}{{- render_tools("functions", tools) }}{%- endif -%}{%- for message in messages -%}{{- message.content }}{%- endfor -%}""",
    "answers marked for training": """{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + eos_token }}{% elif message['role'] == 'assistant' %}{% generation %}{{ '<|assistant|>\\n' + message['content'] + eos_token }}{% endgeneration %}{% endif %}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}""",
    "state in a namespace": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='', is_first_sp=true) %}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}{%- else %}{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}{%- if message['role'] == 'assistant' and 'tool_calls' in message %}{%- for tool in message['tool_calls'] %}{{'<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments'] + '\\n' + '```' + '<｜tool▁call▁end｜>'}}{%- endfor %}{%- endif %}{%- endfor -%}""",
    "loop controls and a block": """{% set preamble %}You are a helpful assistant.
{% if tools %}Use the tools.{% endif %}{% endset %}{{ preamble | trim }}{% for message in messages %}{% if loop.index0 > 100 %}{% break %}{% endif %}{% if not message.content %}{% continue %}{% endif %}{{ message.role | upper }}: {{ message.content | replace('\\r', '') }}{% for i in range(0, 2) %}{{ '-' * 3 }}{% endfor %}{% endfor %}{{ messages | map(attribute='role') | unique | join(',') }}""",
    "documents": """{% for document in documents %}{{ '\\nDocument: ' }}{{ loop.index0 }}{{ '\\n' }}{% for key, value in document.items() %}{{ key }}: {{ value }}{{ '\\n' }}{% endfor %}{% endfor %}{%- set json = {'name': 'x', 'n': [1, 2.5, none]} -%}{{ json | tojson }}{{ messages[-1].content[:10] if messages else '' }}{{ (messages | last).content | default('', true) }}""",
}  # fmt: skip

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages['__class__'] }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ messages | selectattr('__class__') | list }}",
    "{% set x = messages._private %}",
    "{{ self.__init__ }}",
    "{{ messages['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{% if x is defined %}{{ ''['__cla' 'ss__'] }}{% endif %}",
    "{{ dict(__class__=1) }}",
    "{% macro a(b) %}{{ b.__globals__ }}{% endmacro %}",
    "{{ x.y.z.gi_frame.f_back.__builtins__ }}",
]

SUSPICIOUS = [
    "{{ messages | attr('role') }}",
    "{{ messages['_' ~ '_class_' ~ '_'] }}",
    "{% set u = '_' %}{{ messages[u] }}",
    "{{ ''['cla'.join(['x','y'])] }}",
    "{% set k = 'cla' ~ 'ss' %}{{ messages[k] }}",
    "{% set ns = namespace() %}{% set ns.k = 'a' + 'b' %}{{ messages[ns.k] }}",
    "{% set k %}a{{ 'b' }}{% endset %}{{ messages[k] }}",
    "{% macro f(k) %}{{ messages[k] }}{% endmacro %}{{ f('a' ~ 'b') }}",
    "{% with k = 'a' ~ 'b' %}{{ messages[k] }}{% endwith %}",
    "{% for k in ['a' ~ 'b'] %}{{ messages[k] }}{% endfor %}",
    "{{ messages['%c%c' % (95, 95)] }}",
    "{{ '%s' % messages }}",
    "{{ '{0.x}'.format(messages) }}",
    "{{ messages['{}'.format('a')] }}",
    "{{ 'a' | format(1) }}",
    "{{ lipsum(5) }}",
    "{{ cycler('a').next() }}",
    "{{ joiner(', ')() }}",
    "{{ self.body() }}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{% call(x) f() %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% block a %}{% endblock %}",
    "{{ messages | map('attr', 'x') }}",
    "{{ messages | map(x) }}",
    "{{ messages | pprint }}",
    "{{ messages | xmlattr }}",
    "{{ messages is callable }}",
    "{{ messages[0]()() }}",
    "{{ messages.anything() }}",
    "{{ unknown_function(1) }}",
    "{{ f(*messages) }}",
    "{% for i in range(1000000000) %}{% endfor %}",
    "{% for i in range(9999 * 9999) %}{% endfor %}",
    "{{ 'a' * 1000000000 }}",
    "{{ 2 ** 9999 }}",
    "{% set s = 'a' %}{% for i in range(60) %}{% set s = s ~ s %}{% endfor %}",
    "{{ varargs }}",
    "{% do messages.append(1) %}",
    "{{ unclosed",
    "{% if %}",
]


def scan_template(template: str, tmp_path: Path) -> tuple[ScanVerdict, list[str]]:
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({"chat_template": template}))
    report = scan_file(path)
    return report.verdict, [finding.message for finding in report.findings]


@pytest.mark.parametrize("name", HONEST)
def test_template_of_a_published_kind_is_clean(name: str, tmp_path: Path) -> None:
    assert scan_template(HONEST[name], tmp_path) == (ScanVerdict.CLEAN, [])


@pytest.mark.parametrize("template", ESCAPES)
def test_way_to_internals_is_malicious(template: str, tmp_path: Path) -> None:
    assert scan_template(template, tmp_path)[0] is ScanVerdict.MALICIOUS


@pytest.mark.parametrize("template", SUSPICIOUS)
def test_what_no_chat_template_needs_is_not_clean(template: str, tmp_path: Path) -> None:
    assert scan_template(template, tmp_path)[0] is ScanVerdict.UNKNOWN


DEEP = {
    "parentheses": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "attributes": "{{ messages" + ".a" * 50_000 + " }}",
    "sums": "{{ 1" + " + 1" * 50_000 + " }}",
    "negations": "{{ " + "not " * 50_000 + "1 }}",
    "lists": "{{ " + "[" * 50_000 + "]" * 50_000 + " }}",
    "blocks": "{% if a %}" * 20_000,
    "long": "{{ a }}" * 100_000,
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_or_long_template_ends_and_is_not_clean(name: str, tmp_path: Path) -> None:
    assert scan_template(DEEP[name], tmp_path)[0] is ScanVerdict.UNKNOWN


def test_template_in_a_file_of_its_own_is_judged(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(HONEST["documents"])
    assert scan_file(tmp_path / "chat_template.jinja").verdict is ScanVerdict.CLEAN
    (tmp_path / "chat_template.jinja").write_text(HONEST["documents"] + "{{ messages | attr('x') }}")
    assert scan_file(tmp_path / "chat_template.jinja").verdict is ScanVerdict.UNKNOWN
    (tmp_path / "chat_template.jinja").write_text(ESCAPES[0])
    assert scan_file(tmp_path / "chat_template.jinja").verdict is ScanVerdict.MALICIOUS
