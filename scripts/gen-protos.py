"""Writes a CodeGeneratorRequest for protoc-gen-es to stdout (run by scripts/gen-protos.ts, which sets PYTHONPATH).

In: the roots (proto/roots.txt), found as descriptors in the packages of proto/requirements.txt, and our own .proto files.
Out: the import closure in dependency order; everything but google/protobuf (protobuf-es brings that) is to be generated.
"""
import importlib
import pathlib
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.compiler import plugin_pb2
from grpc_tools import protoc
import grpc_tools


def main(proto_dir: pathlib.Path, parameter: str) -> None:
    lines = (proto_dir / 'roots.txt').read_text().splitlines()
    roots = sorted({line.strip() for line in lines if line.strip() and not line.startswith('#')})
    files = upstream_files([*roots, 'google/protobuf/timestamp.proto'])
    own = sorted(
        path.relative_to(proto_dir).as_posix()
        for tree in ('envoy', 'postern')
        for path in proto_dir.glob(f'{tree}/**/*.proto')
    )
    known = {file.name for file in files}
    files += [file for file in own_files(proto_dir, own, files) if file.name not in known]
    request = plugin_pb2.CodeGeneratorRequest(parameter=parameter, proto_file=files)
    request.file_to_generate.extend(f.name for f in files if not f.name.startswith('google/protobuf/'))
    sys.stdout.buffer.write(request.SerializeToString(deterministic=True))


def upstream_files(roots: list[str]) -> list[descriptor_pb2.FileDescriptorProto]:
    """The roots and all that they import, each after what it imports."""
    for root in roots:
        importlib.import_module(root.removesuffix('.proto').replace('/', '.') + '_pb2')
    pool, seen, order = descriptor_pool.Default(), set(), []

    def walk(file) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            walk(dependency)
        order.append(descriptor_pb2.FileDescriptorProto())
        file.CopyToProto(order[-1])

    for root in roots:
        walk(pool.FindFileByName(root))
    return order


def own_files(
    proto_dir: pathlib.Path, names: list[str], upstream: list[descriptor_pb2.FileDescriptorProto]
) -> list[descriptor_pb2.FileDescriptorProto]:
    """Our own files with their comments; they import each other, google/protobuf and what the roots bring."""
    if not names:
        return []
    well_known = pathlib.Path(grpc_tools.__file__).parent / '_proto'
    with tempfile.NamedTemporaryFile() as known, tempfile.NamedTemporaryFile() as out:
        known.write(descriptor_pb2.FileDescriptorSet(file=upstream).SerializeToString())
        known.flush()
        flags = [f'-I{proto_dir}', f'-I{well_known}', f'--descriptor_set_in={known.name}']
        flags += ['--include_source_info', f'--descriptor_set_out={out.name}']
        if protoc.main(['protoc', *flags, *names]) != 0:
            sys.exit('our own .proto files do not compile')
        return list(descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out.name).read_bytes()).file)


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
