@echo off
rem klein-doctor beside ComfyUIs portable build: unpack this folder next to run_nvidia_gpu.bat,
rem double-click this file, or drop a log, a picture or model files on it.
rem It runs with the Python that is here and installs nothing into it.
setlocal
chcp 65001 >nul
set "PY=%~dp0..\python_embeded\python.exe"
if not exist "%PY%" set "PY=%~dp0python_embeded\python.exe"
if not exist "%PY%" (
  echo There is no python_embeded folder beside this one. Put the folder klein-doctor
  echo into ComfyUI_windows_portable, where run_nvidia_gpu.bat is, and start it again.
  pause
  exit /b 2
)
"%PY%" -s "%~dp0start.py" %*
set "CODE=%ERRORLEVEL%"
pause
exit /b %CODE%
