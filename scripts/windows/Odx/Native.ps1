# What PowerShell has no cmdlet for: the copy-offload property of a disk, CopyFile2 with its callback, where a file
# lies, and its reparse tag. The C# is of version 5, which Windows PowerShell 5.1 compiles.

$nativeSource = @'
using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Odx
{
    // DEVICE_COPY_OFFLOAD_DESCRIPTOR (ntddstor.h): VPD pages 8Fh and B0h; lengths in blocks, times in seconds.
    [StructLayout(LayoutKind.Explicit, Size = 48)]
    public struct CopyOffloadDescriptor
    {
        [FieldOffset(0)] public uint Version;
        [FieldOffset(4)] public uint Size;
        [FieldOffset(8)] public uint MaximumTokenLifetime;
        [FieldOffset(12)] public uint DefaultTokenLifetime;
        [FieldOffset(16)] public ulong MaximumTransferSize;
        [FieldOffset(24)] public ulong OptimalTransferCount;
        [FieldOffset(32)] public uint MaximumDataDescriptors;
        [FieldOffset(36)] public uint MaximumTransferLengthPerDescriptor;
        [FieldOffset(40)] public uint OptimalTransferLengthPerDescriptor;
        [FieldOffset(44)] public ushort OptimalTransferLengthGranularity;
    }

    // One chunk that CopyFile2 finished.
    public class Chunk
    {
        public uint Stream;
        public ulong Number;
        public ulong Size;
        public ulong FileBytes;
        public ulong TotalBytes;
        public bool Offloaded;
    }

    public static class Native
    {
        const uint IoctlStorageQueryProperty = 0x002D1400;
        const uint CopyOffloadProperty = 13;
        const uint FsctlGetRetrievalPointers = 0x00090073;
        const uint CopyFileFailIfExists = 0x00000001;
        const uint CopyFileNoOffload = 0x00040000;
        const int MessageChunkFinished = 2;
        const int ChunkOffloaded = 1;
        const int ErrorHandleEof = 38;
        const int ErrorMoreData = 234;

        [StructLayout(LayoutKind.Sequential, CharSet = CharSet.Unicode, Pack = 4)]
        struct FindData
        {
            public uint Attributes;
            public long CreationTime;
            public long LastAccessTime;
            public long LastWriteTime;
            public uint SizeHigh;
            public uint SizeLow;
            public uint ReparseTag;
            public uint Reserved;
            [MarshalAs(UnmanagedType.ByValTStr, SizeConst = 260)] public string Name;
            [MarshalAs(UnmanagedType.ByValTStr, SizeConst = 14)] public string AlternateName;
        }

        [UnmanagedFunctionPointer(CallingConvention.StdCall)]
        delegate int ProgressRoutine(IntPtr message, IntPtr context);

        [StructLayout(LayoutKind.Sequential)]
        struct ExtendedParameters
        {
            public uint Size;
            public uint CopyFlags;
            public IntPtr Cancel;
            public IntPtr Progress;
            public IntPtr Context;
        }

        [DllImport("kernel32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
        static extern SafeFileHandle CreateFileW(string name, uint access, uint share, IntPtr security,
                                                 uint disposition, uint flags, IntPtr template);

        [DllImport("kernel32.dll", SetLastError = true)]
        [return: MarshalAs(UnmanagedType.Bool)]
        static extern bool DeviceIoControl(SafeFileHandle device, uint code, byte[] input, int inputLength,
                                           byte[] output, int outputLength, out int returned, IntPtr overlapped);

        [DllImport("kernel32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
        static extern IntPtr FindFirstFileW(string name, out FindData data);

        [DllImport("kernel32.dll")]
        [return: MarshalAs(UnmanagedType.Bool)]
        static extern bool FindClose(IntPtr find);

        [DllImport("kernel32.dll", CharSet = CharSet.Unicode)]
        static extern int CopyFile2(string source, string destination, ref ExtendedParameters parameters);

        static SafeFileHandle Open(string path)
        {
            const uint ReadAttributes = 0x80, ShareAll = 7, OpenExisting = 3, BackupSemantics = 0x02000000;
            SafeFileHandle handle =
                CreateFileW(path, ReadAttributes, ShareAll, IntPtr.Zero, OpenExisting, BackupSemantics, IntPtr.Zero);
            if (handle.IsInvalid) { throw new Win32Exception(Marshal.GetLastWin32Error()); }
            return handle;
        }

        // 0, or the Win32 error with which the class driver refused: 316 when it does not recognise ODX on the disk.
        public static int QueryCopyOffload(string device, out CopyOffloadDescriptor descriptor)
        {
            descriptor = new CopyOffloadDescriptor();
            byte[] query = new byte[12];
            BitConverter.GetBytes(CopyOffloadProperty).CopyTo(query, 0);
            byte[] reply = new byte[48];
            int returned;
            using (SafeFileHandle handle = Open(device))
            {
                if (!DeviceIoControl(handle, IoctlStorageQueryProperty, query, query.Length, reply, reply.Length,
                                     out returned, IntPtr.Zero))
                {
                    return Marshal.GetLastWin32Error();
                }
            }
            GCHandle pinned = GCHandle.Alloc(reply, GCHandleType.Pinned);
            try
            {
                descriptor = (CopyOffloadDescriptor)Marshal.PtrToStructure(pinned.AddrOfPinnedObject(),
                                                                           typeof(CopyOffloadDescriptor));
            }
            finally { pinned.Free(); }
            return 0;
        }

        // True when the data stands in the file record: the file has no clusters of its own.
        public static bool IsResident(string path)
        {
            byte[] from = new byte[8];
            byte[] reply = new byte[32];
            int returned;
            using (SafeFileHandle handle = Open(path))
            {
                if (DeviceIoControl(handle, FsctlGetRetrievalPointers, from, from.Length, reply, reply.Length,
                                    out returned, IntPtr.Zero))
                {
                    return false;
                }
                int error = Marshal.GetLastWin32Error();
                if (error == ErrorHandleEof) { return true; }
                if (error == ErrorMoreData) { return false; }
                throw new Win32Exception(error);
            }
        }

        // 0 for a file that is no reparse point.
        public static uint ReparseTag(string path)
        {
            const uint ReparsePoint = 0x400;
            FindData data;
            IntPtr find = FindFirstFileW(path, out data);
            if (find == new IntPtr(-1)) { throw new Win32Exception(Marshal.GetLastWin32Error()); }
            FindClose(find);
            return (data.Attributes & ReparsePoint) != 0 ? data.ReparseTag : 0;
        }

        // Each finished chunk with its COPYFILE2_MESSAGE_COPY_OFFLOAD flag. `finished` is called on this thread.
        public static Chunk[] Copy(string source, string destination, bool noOffload, bool failIfExists,
                                   Action<Chunk> finished)
        {
            List<Chunk> chunks = new List<Chunk>();
            Exception failure = null;
            ProgressRoutine routine = delegate(IntPtr message, IntPtr context)
            {
                const int Continue = 0, Cancel = 1;
                try
                {
                    if (Marshal.ReadInt32(message, 0) != MessageChunkFinished) { return Continue; }
                    Chunk chunk = ReadChunk(message);
                    chunks.Add(chunk);
                    if (finished != null) { finished(chunk); }
                    return Continue;
                }
                catch (Exception exception)  // none may pass through native frames
                {
                    failure = exception;
                    return Cancel;
                }
            };
            ExtendedParameters parameters = new ExtendedParameters();
            parameters.Size = (uint)Marshal.SizeOf(typeof(ExtendedParameters));
            parameters.CopyFlags = (noOffload ? CopyFileNoOffload : 0) | (failIfExists ? CopyFileFailIfExists : 0);
            parameters.Progress = Marshal.GetFunctionPointerForDelegate(routine);
            int result = CopyFile2(source, destination, ref parameters);
            GC.KeepAlive(routine);
            if (failure != null) { throw failure; }
            if (result != 0) { Marshal.ThrowExceptionForHR(result); }
            return chunks.ToArray();
        }

        // COPYFILE2_MESSAGE: type, padding, then ChunkFinished, whose two handles are as wide as a pointer.
        static Chunk ReadChunk(IntPtr message)
        {
            int numbers = 16 + 2 * IntPtr.Size;
            Chunk chunk = new Chunk();
            chunk.Stream = (uint)Marshal.ReadInt32(message, 8);
            chunk.Offloaded = (Marshal.ReadInt32(message, 12) & ChunkOffloaded) != 0;
            chunk.Number = (ulong)Marshal.ReadInt64(message, numbers);
            chunk.Size = (ulong)Marshal.ReadInt64(message, numbers + 8);
            chunk.FileBytes = (ulong)Marshal.ReadInt64(message, numbers + 32);
            chunk.TotalBytes = (ulong)Marshal.ReadInt64(message, numbers + 40);
            return chunk;
        }
    }
}
'@

# A type stays for the life of the process: importing the module again must not define it twice.
if (-not ('Odx.Native' -as [type])) {
    Add-Type -TypeDefinition $nativeSource
}
